#!/bin/sh
# The gate of the kernel module: its tests, storms and fuzzers on the kernel with every check.
# Each part in a boot of its own, and each whatever became of the ones before. GATE_SECONDS: how long
# each fuzzer runs; GATE_SEED: another number, other draws. Arguments: the parts; when there are none,
# all but races, which has a kernel of its own.
cd "$(dirname "$0")/../.." || exit 1
vm=netns-tests/vm/vm
inside=netns-tests/vm/guest_gate
seconds=${GATE_SECONDS:-600}
failed=

# What would be a mistake in the module must fail a run. This one is the kernel's own, and on order.
notices() {
	$vm run --kernel gate --limit 300 --results ".vm/gate/$1" -- \
		sh -c "echo $1 > /sys/kernel/debug/provoke-crash/DIRECT"
	test $? -eq 123 || failed="$failed $1"
}

kernel=gate
part() {
	name=$1 limit=$2
	shift 2
	$vm run --kernel $kernel --kmod --limit "$limit" --results ".vm/gate/$name" -- \
		env GATE_SECONDS="$seconds" GATE_SEED="${GATE_SEED:-0}" "$@" || failed="$failed $name"
}

test $# -gt 0 || set -- notices functional storms later faults netlink packets
for one; do
	case $one in
	notices)
		notices READ_AFTER_FREE
		notices SLAB_FREE_DOUBLE
		;;
	functional)
		part functional 2400 env OVPN6_LAB_PATIENCE=10 OVPN6_TEST_TIMEOUT=900 \
			sh netns-tests/vm/guest_kmod/suite.sh 10
		;;
	storms) part storms $((seconds * 2 + 1200)) sh $inside/suite.sh $inside/test_storms.py ;;
	later)
		# Ciphers that complete later; half as long.
		part later $((seconds + 1200)) env GATE_CIPHERS_LATER=1 GATE_SECONDS=$((seconds / 2)) \
			sh $inside/suite.sh $inside/test_storms.py
		;;
	faults) part faults $((seconds + 900)) sh $inside/suite.sh $inside/test_checks.py $inside/test_faults.py ;;
	netlink) part netlink $((seconds + 900)) sh $inside/suite.sh $inside/test_netlink_fuzz.py ;;
	packets) part packets $((seconds + 900)) sh $inside/suite.sh $inside/test_packet_fuzz.py ;;
	races)
		kernel=races
		part races $((seconds * 2 + 1200)) sh $inside/suite.sh $inside/test_storms.py \
			$inside/test_races.py
		kernel=gate
		;;
	*)
		echo "no part is called $one" >&2
		exit 2
		;;
	esac
done
test -z "$failed" || {
	echo "the gate is closed:$failed (.vm/gate)" >&2
	exit 1
}
echo "the gate is open"
