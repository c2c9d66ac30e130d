#!/bin/sh
# OpenVPN 2.7 with its offload on our module, and on mainline's in another guest: two kernels at the ends
# of a cable, each the server in turn. Argument: the kernel that ours is in.
kernel=${1:-6.12}
vm=$(dirname "$(readlink -f "$0")")/vm
results=.vm/two-kernels
program=netns-tests/vm/guest_kmod/two_kernels.py
# Names of sockets are short.
cable=$(mktemp -d)
trap 'rm -r "$cable"' EXIT

"$vm" run --limit 900 --memory 1024 --wire "$cable" --end 0 --results $results/mainline -- \
	env PYTHONPATH=netns-tests python3 $program 0 ovpn &
"$vm" run --limit 900 --memory 1024 --wire "$cable" --end 1 --results $results/ours \
	--kernel "$kernel" --kmod -- sh -c "PYTHONPATH=netns-tests python3 $program 1 \$VM_RESULTS/ovpn6.ko"
ours=$?
wait $!
mainline=$?
echo "exit code of the end with our module: $ours, with mainline's: $mainline ($results)"
test $ours = 0 && test $mainline = 0
