#!/bin/sh
# All tests of the guest: two at a time, then those that must have the kernel to themselves.
# There is no place for caches; the results are carried out. Every limit of the lab is three times as long.
export OVPN6_LAB_PATIENCE=3
python3 netns-tests/vm/guest/steady.py &
steady=$!
tests() {
	results=$1
	shift
	python3 -m pytest -q -p no:cacheprovider --timeout=360 --junit-xml="$VM_RESULTS/$results.xml" "$@" \
		netns-tests/vm/guest
}

status=0
tests together -m "not alone" -n 2 --dist worksteal || status=$?
tests alone -m alone || status=$?
kill "$steady"
exit "$status"
