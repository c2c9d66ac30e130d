#!/bin/sh
# Our module in the place of mainline's: it comes and goes, then the tests of mainline's run on it.
# There is no place for caches; the results are carried out. Argument: how often it comes and goes.
turns=${1:-20}
module="$VM_RESULTS/ovpn6.ko"

modprobe -a udp_tunnel ip6_udp_tunnel
turn=0
while test $turn -lt "$turns"; do
	insmod "$module" compat=$((turn % 2)) || exit 1
	rmmod ovpn6 || exit 1
	turn=$((turn + 1))
done
echo "loaded and unloaded $turn times"

insmod "$module" compat=1 || exit 1
# What is not built yet is left out by name: data over TCP.
theirs=netns-tests/vm/guest
python3 -m pytest -q -p no:cacheprovider --timeout=360 --junit-xml="$VM_RESULTS/junit.xml" \
	-k "not tcp and not Tcp and not connection" netns-tests/vm/guest_kmod \
	$theirs/test_ovpn_netlink.py $theirs/test_ovpn_notifications.py $theirs/test_kernel_datapath.py
