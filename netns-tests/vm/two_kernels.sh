#!/bin/sh
# OpenVPN 2.7 with its offload on our module, and on mainline's in another guest: two kernels at the ends
# of a cable, each the server in turn. Argument: the kernel that ours is in.
kernel=${1:-6.12}
here=$(dirname "$(readlink -f "$0")")
results=$(mktemp -d)
cable="$results/cable"
mkdir "$cable" "$results/mainline" "$results/ours"
program=netns-tests/vm/guest_kmod/two_kernels.py

"$here/vm" run --limit 900 --memory 1024 --wire "$cable" --end 0 --results "$results/mainline" -- \
	env PYTHONPATH=netns-tests python3 $program 0 ovpn &
"$here/vm" run --limit 900 --memory 1024 --wire "$cable" --end 1 --results "$results/ours" \
	--kernel "$kernel" --kmod -- sh -c "PYTHONPATH=netns-tests python3 $program 1 \$VM_RESULTS/ovpn6.ko"
ours=$?
wait $!
mainline=$?
rm -r "$cable"
echo "results in $results: ours $ours, mainline $mainline"
test $ours = 0 && test $mainline = 0
