#!/bin/sh
# The guest's first process: make the read-only root usable, run /results/command, say how it went.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for place in /dev/shm /run /tmp /var/tmp /var/log /var/lib /root /home; do
    mount -t tmpfs -o mode=1777 tmpfs "$place"
done
chmod 755 /run /var/log /var/lib /root /home
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    test -e "/dev/${link%%:*}" || ln -s "/proc/self/${link#*:}" "/dev/${link%%:*}"
done
# Whoever opens it has the kernel load the module, as on a machine with udev.
mkdir -p /dev/net
test -e /dev/net/tun || mknod /dev/net/tun c 10 200
mkdir -p /run/netns /run/lock
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t virtiofs checkout /checkout
mount -t virtiofs results /results
ip link set lo up
echo guest > /proc/sys/kernel/hostname

cd /checkout || exit 1
HOME=/root LANG=C.UTF-8 OVPN6_VM=$(uname -r) VM_RESULTS=/results
# An emulated processor of a busy machine.
OVPN6_LAB_PATIENCE=3
export HOME LANG OVPN6_VM VM_RESULTS OVPN6_LAB_PATIENCE

timeout --kill-after=10 "$(cat /results/limit)" sh /results/command </dev/null >/results/out 2>&1
code=$?

dmesg > /results/dmesg
echo "$code" > /results/rc.partial
mv /results/rc.partial /results/rc
sync
echo o > /proc/sysrq-trigger
# The power goes away at any moment; the first process must not end before.
while :; do sleep 1; done
