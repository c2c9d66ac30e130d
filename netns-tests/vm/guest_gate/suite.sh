#!/bin/sh
# Storms, faults and fuzzers on our module. Arguments: the files to run, all when there are none.
# There is no place for caches; the results are carried out.
modprobe -a udp_tunnel ip6_udp_tunnel
here=netns-tests/vm/guest_gate
test -z "$GATE_CIPHERS_LATER" || PYTHONPATH=netns-tests python3 $here/ciphers_later.py || exit 1
insmod "$VM_RESULTS/ovpn6.ko" compat=1 || exit 1
test $# -gt 0 || set -- "$here"
status=0
# What runs long has a limit of its own.
python3 -m pytest -v -rP -p no:cacheprovider --timeout=1200 --junit-xml="$VM_RESULTS/junit.xml" \
	"$@" || status=$?
sh $here/leaks.sh || status=1
exit $status
