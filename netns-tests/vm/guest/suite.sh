#!/bin/sh
# The tests of the guest: three at a time, then those that must have the kernel to themselves. What
# fails beside another test is run once more, alone: an emulated processor that others share is a slow
# one. The results are carried out. Argument: "long" for every row.
export OVPN6_VM_FORM="$1"
cache=$(mktemp -d)
python3 netns-tests/vm/guest/steady.py &
steady=$!
tests() {
	results=$1
	shift
	python3 -m pytest -q -o cache_dir="$cache" --timeout=360 --junit-xml="$VM_RESULTS/$results.xml" "$@" \
		netns-tests/vm/guest
}

status=0
tests together -m "not alone" -n 3 --dist worksteal || status=$?
if [ "$status" -eq 1 ]; then
	echo "What failed beside another test, alone:"
	status=0
	tests again -m "not alone" --last-failed || status=$?
fi
tests alone -m alone || status=$?
kill "$steady"
exit "$status"
