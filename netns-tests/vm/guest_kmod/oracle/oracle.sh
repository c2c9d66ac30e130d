#!/bin/sh
# Mainline's module and ours side by side, each under its own name: every test asks both.
modprobe -a udp_tunnel ip6_udp_tunnel ovpn || exit 1
insmod "$VM_RESULTS/ovpn6.ko" || exit 1
status=0
python3 -m pytest -q --durations=5 -p no:cacheprovider --timeout=600 \
	--junit-xml="$VM_RESULTS/oracle.xml" "${@:-netns-tests/vm/guest_kmod/oracle}" || status=$?
rmmod ovpn6 && rmmod ovpn || exit 1
exit $status
