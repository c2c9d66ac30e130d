#!/bin/sh
# Our module in the place of mainline's: it comes and goes, then the tests of mainline's run on it. At
# the end it is beside mainline's.
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
python3 netns-tests/vm/guest/steady.py &
# What is not built yet, data over TCP, is in tests that are not named here. Kernels before 6.2 cannot
# put numbers into what they say, which the first file compares.
theirs=netns-tests/vm/guest
case "$(uname -r)" in
6.1.*) netlink= ;;
*) netlink=$theirs/test_ovpn_netlink.py ;;
esac
# shellcheck disable=SC2086  # none, or one word
python3 -m pytest -q --durations=5 -p no:cacheprovider --timeout="${OVPN6_TEST_TIMEOUT:-360}" \
	--junit-xml="$VM_RESULTS/junit.xml" netns-tests/vm/guest_kmod $netlink \
	$theirs/test_kernel_datapath.py::TestContract \
	$theirs/test_kernel_datapath.py::test_networks_behind_a_peer_are_kernel_routes
status=$?

rmmod ovpn6 || exit 1
# Tunnels between the two, where the kernel has mainline's.
if modinfo ovpn >/dev/null 2>&1; then
	sh netns-tests/vm/guest_kmod/oracle/oracle.sh netns-tests/vm/guest_kmod/oracle/test_tunnels.py ||
		status=$?
fi
exit $status
