#!/bin/bash
# In the guest: the engine is killed under a mounted file system. usage: recovery-checks.sh [KILLS]
. /udrbd/conformance/vm/guest/checks.sh
kills=${1:-3}
modprobe loop
declare -A minor=([a]=0 [b]=1)
on() { local node=$1; shift; UDRBD_RUN_DIR=/tmp/$node/run UDRBD_LOCK_DIR=/tmp/$node/lock UDRBD_STATE_DIR=/tmp/$node/state "$@"; }

node_up() {
  local node=$1 own=${minor[$1]} other=$((1 - ${minor[$1]})) disk
  mkdir -p /tmp/$node/run /tmp/$node/lock /tmp/$node/state
  truncate -s 96M /tmp/$node/disk
  disk=$(losetup --find --show /tmp/$node/disk)
  on $node udrbd-engine &&
    yes | on $node drbdmeta --force $own v09 $disk internal create-md 1 &&
    on $node drbdsetup new-resource r0 $own &&
    on $node drbdsetup new-minor r0 $own 0 &&
    on $node drbdsetup attach $own $disk $disk internal &&
    on $node drbdsetup new-peer r0 $other --_name=peer --protocol=C &&
    on $node drbdsetup peer-device-options r0 $other 0 --c-plan-ahead=0 --resync-rate=100M &&
    on $node drbdsetup new-path r0 $other 127.0.0.1:797$own 127.0.0.1:797$other &&
    on $node drbdsetup connect r0 $other
}
in_sync() { until_true 50 grep -q 'cs:Connected.*ds:UpToDate/UpToDate' /tmp/${1:-a}/run/proc/drbd; }
both_up() { node_up a && node_up b && until_true 20 grep -q 'cs:Connected' /tmp/a/run/proc/drbd && on a drbdsetup primary r0 --force && in_sync; }
CHECK_SECONDS=120
check 'two nodes, one Primary' both_up
mkdir -p /mnt/fs
# Before it had any data the device could not be read.
mounted() { mkfs.ext4 -q -F /dev/drbd0 && mount /dev/drbd0 /mnt/fs && dmesg -c > /dev/null; }
check 'a file system' mounted

# A log that is fsync'ed after each line; the last line that counts is kept elsewhere.
touch /tmp/appending
append() {
  local n=0
  while [ -e /tmp/appending ]; do
    n=$((n + 1))
    { echo line $n >> /mnt/fs/log && sync /mnt/fs/log; } 2> /tmp/append-error || break
    echo $n > /tmp/appended
  done
}
append &
appender=$!

now() { local up rest; read -r up rest < /proc/uptime; echo ${up/./}; }
engine_pid() { cat /tmp/$1/run/engine.lock; }
# kill_engine NODE: and start it again, as a service manager would. Prints hundredths of a second until a write on the file system is durable.
kill_engine() {
  local from pid
  pid=$(engine_pid $1)
  from=$(now)
  kill -9 $pid
  on $1 udrbd-engine < /dev/null &
  dd if=/dev/urandom of=/mnt/fs/probe bs=4k count=1 oflag=direct conv=fsync,notrunc status=none || return 1
  echo $(($(now) - from))
  wait $!
}
pauses() {
  local n pause
  for n in $(seq $kills); do
    pause=$(kill_engine a) || return 1
    echo "{\"pause\": $((pause * 10))}" | tee -a /tmp/pauses
    sleep 0.$((RANDOM % 10))
    in_sync || return 1
  done
}
CHECK_SECONDS=$((60 + kills * 20))
check 'the Primary is killed, the file system sees a pause' pauses
grep -hE ': udrbd-engine |taking over|new current|recovered' /tmp/a/run/engine.log | tail -4 | sed 's/^/# /'
sed 's/^/# /' /tmp/pauses
verified() { fio --name=v --directory=/mnt/fs --direct=1 --rw=randwrite --bsrange=4k-64k --bs_unaligned=0 --size=16M --iodepth=16 --ioengine=libaio --verify=crc32c --do_verify=1 --fsync=64; }
under_load() {
  verified & local load=$!
  local n
  for n in 1 2; do
    sleep 1
    kill -9 $(engine_pid a)
    on a udrbd-engine < /dev/null || return 1
  done
  sleep 1
  kill -9 $(engine_pid b)
  on b udrbd-engine < /dev/null || return 1
  wait $load
}
check 'fio verifies what it wrote while both engines were killed' under_load
check 'the nodes are in sync again' in_sync
check 'and the Secondary says so too' in_sync b
twice() {
  kill -9 $(engine_pid a)
  on a udrbd-engine < /dev/null & local first=$!
  sleep 0.7
  kill -9 $(engine_pid a) 2> /dev/null
  wait $first
  on a udrbd-engine < /dev/null
  dd if=/dev/urandom of=/mnt/fs/probe bs=4k count=1 oflag=direct conv=fsync,notrunc status=none && in_sync
}
check 'an engine that is killed while it takes over' twice
by_command() { kill -9 $(engine_pid a); on a drbdsetup status r0 && on a drbdsetup status r0 | grep -q 'role:Primary' && dd if=/dev/urandom of=/mnt/fs/probe bs=4k count=1 oflag=direct conv=fsync,notrunc status=none && in_sync; }
check 'the next command brings the engine back' by_command
refused() { local text; text=$(on a drbdsetup down r0 2>&1); equal 11 $? && grep -q 'mounted on /mnt/fs' <<< "$text"; }
check 'down of a mounted device is refused, and the mount is named' refused
upgraded() {
  local from old
  from=$(now) old=$(engine_pid a)
  on a udrbd-engine --upgrade < /dev/null && [ "$(engine_pid a)" != "$old" ] || return 1
  dd if=/dev/urandom of=/mnt/fs/probe bs=4k count=1 oflag=direct conv=fsync,notrunc status=none && in_sync && on a drbdsetup status r0 | grep -q 'role:Primary'
}
check 'an upgrade under the mounted file system' upgraded
stays() {
  kill $(engine_pid a)
  until_true 20 grep -q 'waiting until nothing is in use.*mounted on /mnt/fs' /tmp/a/run/engine.log && sleep 1 &&
    dd if=/dev/urandom of=/mnt/fs/probe bs=4k count=1 oflag=direct conv=fsync,notrunc status=none && kill -0 $(engine_pid a)
}
check 'SIGTERM: what is mounted is served on' stays
complete() {
  rm /tmp/appending
  while kill -0 $appender 2> /dev/null; do sleep 0.1; done
  [ ! -s /tmp/append-error ] || { cat /tmp/append-error; return 1; }
  # Records that reached the disk without the writer having heard of it may follow.
  [ "$(wc -l < /mnt/fs/log)" -ge "$(cat /tmp/appended)" ] && seq $(wc -l < /mnt/fs/log) | sed 's/^/line /' | cmp - /mnt/fs/log
}
check 'no line of the log is missing' complete
echo "# $(cat /tmp/appended) lines"
healthy() { ! dmesg | grep -E 'I/O error|EXT4-fs (error|warning)|Buffer I/O|Remounting' && grep -q ' /mnt/fs ext4 rw' /proc/mounts && umount /mnt/fs; }
check 'the file system never saw an error' healthy

# The end, in several orders.
no_blocks() { ! ls /dev/ublkb$1 /dev/ublkc$1 /dev/drbd$1; }
released() { until_true 30 eval '! kill -0 $(engine_pid a)' && no_blocks 0; }
check 'once it is unmounted the engine ends; no device is left' released
down() { on b drbdsetup down r0 && no_blocks 1; }
check 'down; no device is left' down
same() { cmp -n 98000000 /tmp/a/disk /tmp/b/disk; }
check 'both disks hold the same data' same
# Not before: the device went with the engine.
check 'and a clean file system' fsck.ext4 -fn /tmp/a/disk
alone() {
  local disk=$(losetup -j /tmp/b/disk | cut -d: -f1)
  on b drbdsetup new-resource r1 1 && on b drbdsetup new-minor r1 7 0 && on b drbdmeta --force 7 v09 $disk internal apply-al &&
    on b drbdsetup attach 7 $disk $disk internal && on b drbdsetup primary r1 --force
}
insisted() {
  alone && mount /dev/drbd7 /mnt/fs || return 1
  echo kept > /mnt/fs/kept
  local pid=$(engine_pid b)
  # At once: that is one request.
  kill $pid; kill $pid
  until_true 20 grep -q 'waiting until nothing is in use' /tmp/b/run/engine.log && sleep 1 && kill -0 $pid &&
    dd if=/dev/drbd7 of=/dev/null bs=4k count=1 iflag=direct || return 1
  kill $pid
  until_true 20 eval "! kill -0 $pid" || return 1
  # Errors, but nobody waits.
  ! dd if=/dev/drbd7 of=/dev/null bs=4k count=1 iflag=direct
  umount /mnt/fs
  ! ls /dev/ublkb7 /dev/ublkc7
}
check 'a second SIGTERM ends what is in use, and nobody hangs' insisted
orphan() {
  alone && mount -o ro /dev/drbd7 /mnt/fs && grep kept /mnt/fs/kept && umount /mnt/fs || return 1
  kill -9 $(engine_pid b)
  equal '' "$(on b udrbd-engine --orphans)" || return 1
  rm /tmp/b/run/journal.json
  equal '/dev/ublkb7 minor:7' "$(on b udrbd-engine --orphans)" || return 1
  dd if=/dev/ublkb7 of=/dev/null bs=4k count=1 iflag=direct & local waiting=$!
  sleep 0.5
  kill -0 $waiting && equal '/dev/ublkb7 minor:7 removed' "$(on b udrbd-engine --remove-orphans | cut -d' ' -f1-3)" || return 1
  ! wait $waiting && until_true 10 eval '! ls /dev/ublkb7 /dev/ublkc7' && equal '' "$(on b udrbd-engine --orphans)"
}
check 'a device whose journal is lost is listed, and ended by one command' orphan
no_bug() { ! grep -E 'internal error|ProtocolError|Split-Brain' /tmp/a/run/engine.log /tmp/b/run/engine.log; }
check 'no internal error, no protocol error' no_bug
checks_end
