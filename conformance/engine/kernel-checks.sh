#!/bin/bash
# In the guest: an engine with a ublk device opposite the kernel's DRBD 8.4, which is in this machine, or in the other one of a pair.
. /udrbd/conformance/vm/guest/checks.sh
modprobe loop
MEGABYTES=64
stock84=/lib/drbd/drbdsetup-84
on() { UDRBD_RUN_DIR=/tmp/run UDRBD_LOCK_DIR=/tmp/lock UDRBD_STATE_DIR=/tmp/state "$@"; }
# What the kernel's node is told; commands only, no functions.
if [ -z "$VM_NODE" ]; then
  address=10.1.1.1 kernel=10.1.1.2
  # DRBD in the kernel has its sockets in the first namespace.
  network() {
    ip netns add a && ip link add va netns a type veth peer name vb && ip -n a link set lo up && ip -n a link set va up && ip link set vb up &&
      ip -n a addr add $address/24 dev va && ip addr add $kernel/24 dev vb
  }
  engine() { on nsenter --net=/run/netns/a udrbd-engine; }
  kernel() { bash -c "$1"; }
else
  address=$VM_ADDRESS kernel=$VM_PEER_ADDRESS
  network() { until_true 60 kernel true; }
  engine() { on udrbd-engine; }
  kernel() {
    local text= tries
    # It does not listen while it begins to listen again.
    for tries in $(seq 50); do
      text=$(printf '%s\necho "status $?"\n' "$1" | nc vm1 7001 2> /dev/null)
      [ -z "$text" ] || break
      sleep 0.2
    done
    echo "${text%status *}"
    [ "${text##*status }" = 0 ]
  }
fi
state() { grep '^ *0: ' /tmp/run/proc/drbd; }
both_good() { state | grep -q 'cs:Connected .*ds:UpToDate/UpToDate'; }
good_again() { until_true 60 both_good || { cat /tmp/run/proc/drbd; tail -n 30 /tmp/run/engine.log; kernel 'cat /proc/drbd'; return 1; }; }

kernel_up() {
  kernel "modprobe -a loop drbd && truncate -s ${MEGABYTES}M /tmp/kernel && losetup /dev/loop7 /tmp/kernel &&
    DRBD_DONT_WARN_ON_VERSION_MISMATCH=1 /stock/bin/drbdmeta --force 7 v08 /dev/loop7 internal create-md > /dev/null &&
    $stock84 new-resource r0 && $stock84 new-minor r0 7 0 && $stock84 attach 7 /dev/loop7 /dev/loop7 internal --c-plan-ahead=0 --resync-rate=100M &&
    $stock84 connect r0 ipv4:$kernel:7800 ipv4:$address:7800 --protocol=C"
}
node_up() {
  mkdir -p /tmp/run /tmp/lock /tmp/state
  truncate -s ${MEGABYTES}M /tmp/disk
  losetup /dev/loop0 /tmp/disk
  engine &&
    yes | on drbdmeta --force 0 v09 /dev/loop0 internal create-md 1 &&
    on drbdsetup new-resource r0 0 &&
    on drbdsetup new-minor r0 0 0 &&
    on drbdsetup attach 0 /dev/loop0 /dev/loop0 internal &&
    on drbdsetup new-peer r0 1 --_name=kernel --protocol=C &&
    on drbdsetup peer-device-options r0 1 0 --c-plan-ahead=0 --resync-rate=100M &&
    on drbdsetup new-path r0 1 $address:7800 $kernel:7800 &&
    on drbdsetup connect r0 1
}
CHECK_SECONDS=120
check 'a network' network
check "the kernel's node comes up" kernel_up
check 'our node comes up' node_up
check 'they find each other' until_true 30 eval 'state | grep -q cs:Connected'
first_sync() { on drbdsetup primary r0 --force && good_again; }
check 'promotion, and the first sync' first_sync
verified() {
  fio --name=v --filename=/dev/ublkb0 --direct=1 --rw=randwrite --bssplit=512/20:1536/15:4k/20:6656/15:20992/15:68k/10:256k/5 --size=16M --iodepth=16 \
    --ioengine=libaio --verify=crc32c --do_verify=1 --fsync=64
}
check 'fio writes and verifies, in pieces of any size' verified
check 'discard' blkdiscard -o 4096 -l 8388608 /dev/ublkb0
mkdir -p /mnt/fs
sums='find . -type f | sort | xargs sha256sum | sha256sum'
files() { mkfs.ext4 -q -F /dev/ublkb0 && mount /dev/ublkb0 /mnt/fs && cp -r /udrbd/scripts /mnt/fs/ && dd if=/dev/urandom of=/mnt/fs/random bs=1M count=4 conv=fsync; }
check 'a file system on our device' files
killed() {
  kill -9 $(cat /tmp/run/engine.lock)
  engine && dd if=/dev/urandom of=/mnt/fs/random bs=1M count=4 conv=fsync && grep -q ' /mnt/fs ext4 rw' /proc/mounts && good_again
}
check 'the engine is killed under it and the next one takes it over' killed
to_kernel() {
  (cd /mnt/fs && eval "$sums") > /tmp/before && umount /mnt/fs && on drbdsetup secondary r0 || return
  kernel "$stock84 primary 7 && mkdir -p /mnt/kernel && mount /dev/drbd7 /mnt/kernel && cd /mnt/kernel && $sums" > /tmp/after || { cat /tmp/after; return 1; }
  equal "$(cat /tmp/before)" "$(grep . /tmp/after)"
}
check 'over to the kernel: our files are there' to_kernel
kernel_writes() {
  kernel "cd /mnt/kernel && dd if=/dev/urandom of=theirs bs=1M count=4 conv=fsync 2> /dev/null && rm -r scripts && $sums && cd / && umount /mnt/kernel && $stock84 secondary 7" > /tmp/before
}
check 'it writes' kernel_writes
back() { on drbdsetup primary r0 && mount /dev/ublkb0 /mnt/fs && (cd /mnt/fs && eval "$sums") > /tmp/after && equal "$(grep . /tmp/before)" "$(cat /tmp/after)"; }
check "and back: the kernel's files are here" back
same() {
  local bytes
  bytes=$(blockdev --getsize64 /dev/ublkb0)
  umount /mnt/fs && on drbdsetup secondary r0 && good_again &&
    until_true 10 kernel "grep -q 'ro:Secondary/Secondary' /proc/drbd" &&
    equal "$(head -c $bytes /tmp/disk | sha256sum)" "$(kernel "head -c $bytes /tmp/kernel | sha256sum" | grep .)"
}
check 'both disks hold the same data' same
down() { kernel "$stock84 down r0" && on drbdsetup down r0 && kill $(cat /tmp/run/engine.lock) && until_true 10 eval '! pgrep -f udrbd-engine'; }
check 'both end' down
no_bug() { ! grep -E 'internal error|ProtocolError' /tmp/run/engine.log; }
check 'no internal error, no protocol error' no_bug
if [ -n "$VM_NODE" ]; then kernel 'touch /tmp/end'; fi
checks_end
