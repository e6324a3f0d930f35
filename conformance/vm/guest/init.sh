#!/bin/bash
# Second stage: process 1 of the guest. Sets the machine up, runs the command in /udrbd/run, reports how it ended.
# The kernel's command line names the node (vm.node), the end marker (vm.end) and
# when its time is up (vm.deadline, seconds of the epoch).
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /dev/pts /run/lock
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd; ln -s /proc/self/fd/0 /dev/stdin; ln -s /proc/self/fd/1 /dev/stdout; ln -s /proc/self/fd/2 /dev/stderr

word() { sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }
node=$(word vm.node) end=$(word vm.end) deadline=$(word vm.deadline)

echo 1 > /proc/sys/kernel/panic_on_oops
echo 120 > /proc/sys/kernel/hung_task_timeout_secs
echo 1 > /proc/sys/kernel/sysrq

# The port is found by its name, since nothing makes the links that udev would make.
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name)" = output ] && output=/dev/${port##*/}
done

export VM=1 VM_NODE=$node
hostname vm$node
ip link set lo up
printf '127.0.0.1 localhost\n10.99.0.1 vm0\n10.99.0.2 vm1\n' > /etc/hosts
modprobe ublk_drv
if [ -n "$node" ]; then
  modprobe virtio_net
  export VM_ADDRESS=10.99.0.$((node + 1)) VM_PEER_ADDRESS=10.99.0.$((2 - node))
  ip link set eth0 up
  ip address add $VM_ADDRESS/24 dev eth0
fi

# Shortly before the host gives up: what everything is waiting for, into the console log.
(
  left=$((deadline - 6 - $(date +%s)))
  [ $left -gt 0 ] && sleep $left
  { echo "vm: out of time"; ps -o pid,stat,args; } > /dev/console
  echo w > /proc/sysrq-trigger
) & watchdog=$!

cd /udrbd
mkfifo /run/vm-output
# A process, so that the command sees an ordinary pipe and its last words are out before the end marker.
cat < /run/vm-output > $output & copier=$!
bash /udrbd/run < /dev/null > /run/vm-output 2>&1
status=$?

# Whatever still runs holds the pipe open.
kill -9 $watchdog
for process in /proc/[0-9]*; do
  pid=${process#/proc/}
  [ $pid = 1 ] || [ $pid = $copier ] || kill -9 $pid
done 2> /dev/null
for tick in 1 2 3 4 5 6 7 8 9 10; do
  kill -0 $copier 2> /dev/null || break
  sleep 0.2
done
kill -9 $copier 2> /dev/null
wait $copier 2> /dev/null

[ -b /dev/vdb ] && tar c -C /out . > /dev/vdb && sync
printf '\0\0%s %d\n' $end $status > $output
poweroff -f
