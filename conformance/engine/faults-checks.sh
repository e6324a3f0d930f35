#!/bin/bash
# In the guest: two engines, each in a network namespace of its own, on disks that can be made to fail. A file system on the Primary's
# device works on while everything around it breaks.
. /udrbd/conformance/vm/guest/checks.sh
modprobe -a loop dm-mod xfs
declare -A minor=([a]=0 [b]=1)
MEGABYTES=340
on() { local node=$1; shift; UDRBD_RUN_DIR=/tmp/$node/run UDRBD_LOCK_DIR=/tmp/$node/lock UDRBD_STATE_DIR=/tmp/$node/state "$@"; }
# Not `ip netns exec`: its copy of the mounts would keep the file system.
engine() { on $1 nsenter --net=/run/netns/$1 udrbd-engine; }
proc() { grep -A 3 "^ *${minor[$1]}: " /tmp/$1/run/proc/drbd; }
both_good() { proc a | grep -q 'cs:Connected .*ds:UpToDate/UpToDate'; }
good_again() { until_true 60 both_good || { proc a; proc b; tail -n 30 /tmp/a/run/engine.log /tmp/b/run/engine.log; return 1; }; }

network() {
  ip netns add a && ip netns add b && ip link add va netns a type veth peer name vb netns b || return
  for node in a b; do
    ip -n $node link set lo up && ip -n $node addr add 10.1.1.$((minor[$node] + 1))/24 dev v$node && ip -n $node link set v$node up || return
  done
}
sectors() { blockdev --getsz $(cat /tmp/$1/loop); }
healthy() { echo "0 $(sectors $1) linear $(cat /tmp/$1/loop) 0"; }
node_up() {
  local node=$1 own=${minor[$1]} other=$((1 - ${minor[$1]}))
  mkdir -p /tmp/$node/run /tmp/$node/lock /tmp/$node/state
  # So small that it can be filled.
  mount -t tmpfs -o size=4m,mode=700 run-$node /tmp/$node/run
  truncate -s ${MEGABYTES}M /tmp/$node/disk
  losetup --find --show /tmp/$node/disk > /tmp/$node/loop
  dmsetup create disk-$node --table "$(healthy $node)" --addnodeoncreate && dmsetup mknodes || return
  engine $node &&
    yes | on $node drbdmeta --force $own v09 /dev/mapper/disk-$node internal create-md 1 &&
    on $node drbdsetup new-resource r0 $own --on-no-data-accessible=suspend-io &&
    on $node drbdsetup new-minor r0 $own 0 &&
    on $node drbdsetup attach $own /dev/mapper/disk-$node /dev/mapper/disk-$node internal --on-io-error=detach &&
    on $node drbdsetup new-peer r0 $other --_name=peer --protocol=C --verify-alg=crc32c --ping-int=3 --ping-timeout=30 --connect-int=1 &&
    on $node drbdsetup peer-device-options r0 $other 0 --c-plan-ahead=0 --resync-rate=200M &&
    on $node drbdsetup new-path r0 $other 10.1.1.$((own + 1)):7970 10.1.1.$((other + 1)):7970 &&
    on $node drbdsetup connect r0 $other
}
check 'a network of two' network
check 'node a comes up' node_up a
check 'node b comes up' node_up b
connected() { until_true 20 eval 'proc a | grep -q cs:Connected'; }
check 'the nodes find each other' connected
first() { on a drbdsetup new-current-uuid 0 --clear-bitmap && on a drbdsetup primary r0; }
check 'two empty disks need no first sync' first
mkdir -p /mnt/fs

# Writes, reads back and compares, again and again, until told to stop; not as fast as it can, so that a slow machine gets on with the rest.
work() {
  rm -f /tmp/stop
  until [ -e /tmp/stop ]; do
    fio --name=v --directory=/mnt/fs --size=6M --rw=randwrite --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 --fsync=16 --rate_iops=50 \
      --verify=crc32c --do_verify=1 --verify_fatal=1 || return
    date +%s%N >> /mnt/fs/log && sync -f /mnt/fs || return
  done
}
start_work() { work > /tmp/work.log 2>&1 & echo $! > /tmp/work.pid; sleep 1; kill -0 $(cat /tmp/work.pid); }
working() { kill -0 $(cat /tmp/work.pid) || { grep -i error /tmp/work.log; tail -n 30 /tmp/a/run/engine.log; return 1; }; }
stop_work() { touch /tmp/stop; until_true 60 eval '! kill -0 $(cat /tmp/work.pid)'; ! grep -iE 'error|verify failed' /tmp/work.log; }
rounds() { local n; n=$(wc -l < /mnt/fs/log); echo "$n rounds"; [ $n -ge 1 ]; }

# What happens under the work. Each ends with both disks good.
link_breaks() {
  ip -n a link set va down; until_true 20 eval '! proc a | grep -q cs:Connected'; sleep 1
  ip -n a link set va up; good_again && working
}
peer_dies() {
  kill -9 $(cat /tmp/b/run/engine.lock); until_true 10 eval '! proc a | grep -q cs:Connected'; sleep 1
  engine b && good_again && working
}
# Nobody starts the next one but a command that finds this one gone; it is refused, whether the device has been taken over by then or not.
engine_dies() {
  local text
  kill -9 $(cat /tmp/a/run/engine.lock)
  text=$(on a nsenter --net=/run/netns/a drbdsetup secondary r0 2>&1)
  equal 11 $? && grep 'mounted on /mnt/fs' <<< "$text" && good_again && working &&
    on a drbdsetup status r0 | grep role:Primary && grep ' /mnt/fs .* rw' /proc/mounts
}
table() { dmsetup suspend --noflush --nolockfs disk-$1 && dmsetup load disk-$1 --table "$2" && dmsetup resume disk-$1; }
repaired() {
  local m=${minor[$1]}
  table $1 "$(healthy $1)" && on $1 drbdmeta --force $m v09 /dev/mapper/disk-$1 internal apply-al &&
    on $1 drbdsetup attach $m /dev/mapper/disk-$1 /dev/mapper/disk-$1 internal --on-io-error=detach
}
disk_fails() {
  table $1 "0 $(sectors $1) error" && until_true 20 eval "proc $1 | grep -q ds:Diskless" || return
  sleep 1; repaired $1 && good_again && working
}
# Its I/O neither ends nor fails. The file system goes on with the peer's disk; ours is Failed until what it was given has come back.
disk_hangs() {
  on a drbdsetup disk-options 0 --disk-timeout=30 && dmsetup suspend --noflush --nolockfs disk-a || return
  until_true 30 eval "proc a | grep -q 'ds:Failed'" && dd if=/dev/urandom of=/mnt/fs/meanwhile bs=64k count=1 conv=fsync && working
  local went_on=$?
  dmsetup resume disk-a
  [ $went_on = 0 ] && grep 'Local backing device failed to meet the disk-timeout' /tmp/a/run/engine.log &&
    until_true 30 eval "proc a | grep -q ds:Diskless" && repaired a && good_again && working
}
# What is configured meanwhile is in the journal as soon as it can be, without anybody asking for it.
run_directory_is_full() {
  # More than once: a file that the engine was just replacing leaves its room behind.
  for fill in 1 2 3; do dd if=/dev/zero of=/tmp/b/run/fill.$fill bs=4k 2> /dev/null; sleep 1; done
  on b drbdsetup net-options r0 0 --connect-int=7 && ! grep '"connect-int": 7' /tmp/b/run/journal.json && working && both_good
  local status=$?
  rm /tmp/b/run/fill.*
  [ $status = 0 ] || return
  until_true 10 grep -q '"connect-int": 7' /tmp/b/run/journal.json && until_true 5 grep -q 'journal: written again' /tmp/b/run/engine.log &&
    kill -9 $(cat /tmp/b/run/engine.lock) && until_true 10 eval '! proc a | grep -q cs:Connected' && engine b && good_again && working &&
    on b drbdsetup show r0 | grep -q 'connect-int.*7'
}
# Nearly all memory is taken (pages that are set aside for others need not be filled), and dirty pages of the file system take the rest:
# they can be written only through both engines.
no_memory() {
  local file=/mnt/fs/large mib=32 before
  reclaimed() { awk '/^pgsteal_(kswapd|direct) /{n += $2} END {print n}' /proc/vmstat; }
  dd if=/dev/zero of=$file bs=1M count=$mib conv=fsync status=none && dd if=/dev/urandom of=/tmp/random bs=1M count=$mib status=none || return
  before=$(reclaimed)
  echo 90 > /proc/sys/vm/dirty_ratio; echo 80 > /proc/sys/vm/dirty_background_ratio
  echo $((($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) - 24 * 1024) / 2048)) > /proc/sys/vm/nr_hugepages
  grep -E 'MemFree|MemAvailable|HugePages_Total' /proc/meminfo
  for pass in 1 2; do
    dd if=/tmp/random of=$file bs=1M conv=notrunc status=none || return
    grep Dirty: /proc/meminfo
  done
  sync -f $file && working || return
  echo "$(($(reclaimed) - before)) pages reclaimed"
  [ $(reclaimed) -gt $((before + 1000)) ] || return
  echo 0 > /proc/sys/vm/nr_hugepages
  cmp /tmp/random <(dd if=$file bs=1M iflag=direct status=none) && rm $file /tmp/random && good_again && working
}
# PF_MEMALLOC_NOIO of the main thread and of the reactor, which is the one with nice -20; programs, libraries and payloads are locked.
prepared_for_that() {
  local pid task fields nice flags marked='' locked
  pid=$(cat /tmp/a/run/engine.lock)
  for task in /proc/$pid/task/*; do
    fields=($(sed 's/.*) //' $task/stat)) flags=${fields[6]} nice=${fields[16]}
    if [ $((flags & 0x80000)) != 0 ]; then marked="$marked ${task##*/}:$nice"; fi
  done
  locked=$(sed -n 's/^VmLck:\s*\([0-9]*\) kB/\1/p' /proc/$pid/status)
  echo "marked:$marked locked: $locked"
  [[ $marked == *" $pid:0"* && $marked == *:-20* ]] && [ $locked -gt 40000 ] && ! grep -E 'PR_SET_IO_FLUSHER|mlockall|not locked' /tmp/a/run/engine.log
}
# The first 8 MiB; the disks are compared as a whole below.
verified() {
  local before; before=$(verifies)
  on a drbdsetup verify r0 1 0 --start=0 --stop=16384 && until_true 100 eval "[ \$(verifies) -gt $before ]" && until_true 10 both_good &&
    proc a | grep 'oos:0$'
}
verifies() { grep -c 'Online verify done' /tmp/a/run/engine.log; }
no_difference() { ! grep -h 'Out of sync' /tmp/a/run/engine.log /tmp/b/run/engine.log; }
is_clean() { if [ $2 = ext4 ]; then e2fsck -fn $1; else xfs_repair -n $1; fi; }
clean_on_both() {
  local bytes; bytes=$(blockdev --getsize64 /dev/ublkb0)
  umount /mnt/fs && is_clean /dev/ublkb0 $1 && on a drbdsetup secondary r0 && cmp -n $bytes /tmp/a/disk /tmp/b/disk &&
    on b drbdsetup primary r0 && is_clean /dev/ublkb1 $1 && on b drbdsetup secondary r0 && on a drbdsetup primary r0
}

CHECK_SECONDS=120
for type in ext4 xfs; do
  if [ $type = ext4 ]; then make='mkfs.ext4 -q -F -E nodiscard'; else make='mkfs.xfs -q -f -K'; fi
  check "$type: a file system" eval "$make /dev/drbd0 && mount /dev/drbd0 /mnt/fs"
  check "$type: work begins" start_work
  check "$type: the link breaks" link_breaks
  check "$type: the peer is killed" peer_dies
  check "$type: the engine below it is killed" engine_dies
  check "$type: the peer's disk fails" disk_fails b
  check "$type: the Primary's disk fails" disk_fails a
  if [ $type = ext4 ]; then
    check 'a disk that hangs is given up' disk_hangs
    check 'the run directory is full' run_directory_is_full
    check 'the engine is prepared for a lack of memory' prepared_for_that
    check 'a file system whose server has no memory left is written all the same' no_memory
  fi
  check "$type: the work ends without an error" stop_work
  check "$type: and got on" rounds
  check "$type: an online verify finds nothing" verified
  check "$type: clean and the same on both nodes" clean_on_both $type
done
check 'no verify found a difference' no_difference
no_bug() { ! grep -E 'internal error|ProtocolError' /tmp/a/run/engine.log /tmp/b/run/engine.log; }
check 'no internal error, no protocol error' no_bug
ends() { on a drbdsetup down r0 && on b drbdsetup down r0 && for node in a b; do kill $(cat /tmp/$node/run/engine.lock); done; until_true 10 eval '! pgrep -f udrbd-engine'; }
check 'the engines end when told' ends
checks_end
