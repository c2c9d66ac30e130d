#!/bin/sh
# Nothing is left of the module's memory once it is gone. What it says of a leak fails the run by the log.
rmmod ovpn6 || exit 1
test -e /sys/kernel/debug/kmemleak || exit 0
# A block must be some seconds old before it counts, and unreferenced in two looks.
for _ in 1 2; do
	sleep 6
	echo scan > /sys/kernel/debug/kmemleak || exit 1
done
test ! -s /sys/kernel/debug/kmemleak || { cat /sys/kernel/debug/kmemleak; exit 1; }
echo "nothing leaked"
