#!/bin/bash
# In the guest: two engines on this host, /dev/ublkb0 and /dev/ublkb1 as their volumes.
. /udrbd/conformance/vm/guest/checks.sh
modprobe loop
declare -A minor=([a]=0 [b]=1)
on() { local node=$1; shift; UDRBD_RUN_DIR=/tmp/$node/run UDRBD_LOCK_DIR=/tmp/$node/lock UDRBD_STATE_DIR=/tmp/$node/state "$@"; }
proc() { grep -A 3 "^ *${minor[$1]}: " /tmp/$1/run/proc/drbd; }

node_up() {
  local node=$1 own=${minor[$1]} other=$((1 - ${minor[$1]})) disk
  mkdir -p /tmp/$node/run /tmp/$node/lock /tmp/$node/state
  truncate -s 96M /tmp/$node/disk
  disk=$(losetup --find --show /tmp/$node/disk)
  # As a disk whose cache needs no flushes.
  if [ $node = b ]; then echo 'write through' > /sys/block/${disk##*/}/queue/write_cache; fi
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
read_only() { equal "$2" "$(cat /sys/block/ublkb$1/ro)"; }
# Ten starts of node on an emulated processor, that others may use too.
CHECK_SECONDS=120
check 'node a comes up' node_up a
check 'node b comes up' node_up b
check 'the devices have their links' test "$(readlink /dev/drbd0) $(readlink /dev/drbd1)" = '/dev/ublkb0 /dev/ublkb1'
check 'a Secondary is read-only' read_only 0 1
check 'the nodes find each other' until_true 20 grep -q 'cs:Connected' /tmp/a/run/proc/drbd
check 'promotion' on a drbdsetup primary r0 --force
check 'the Primary is writable' read_only 0 0
check 'the first sync ends' until_true 50 grep -q 'ds:UpToDate/UpToDate' /tmp/a/run/proc/drbd
no_write() { ! dd if=/dev/zero of=/dev/ublkb1 bs=4k count=1 oflag=direct; }
check 'no write on the other node' no_write
# The expansion belongs to fio's job, not to the shell.
verified() { fio --name=v --filename=/dev/drbd0 --direct=1 --rw=randwrite --bsrange=4k-64k --bs_unaligned=0 --size=24M --iodepth=16 --ioengine=libaio --verify=crc32c --do_verify=1 --fsync=64; }
check 'fio writes and verifies' verified
check 'discard' blkdiscard -o 0 -l 33554432 /dev/drbd0
check 'a file system' mkfs.ext4 -q -F /dev/drbd0
mkdir -p /mnt/fs
files() { mount /dev/drbd0 /mnt/fs && cp -r /udrbd/scripts /mnt/fs/ && dd if=/dev/urandom of=/mnt/fs/random bs=1M count=8 && sync -f /mnt/fs && (cd /mnt/fs && find . -type f | sort | xargs sha256sum) > /tmp/before; }
check 'files on it' files
killed() {
  kill -9 $(cat /tmp/a/run/engine.lock)
  on a udrbd-engine < /dev/null &&
    dd if=/dev/urandom of=/mnt/fs/random bs=1M count=8 conv=fsync && grep -q ' /mnt/fs ext4 rw' /proc/mounts &&
    (cd /mnt/fs && find . -type f | sort | xargs sha256sum) > /tmp/before &&
    until_true 50 grep -q 'cs:Connected.*ds:UpToDate/UpToDate' /tmp/a/run/proc/drbd
}
check 'the engine is killed under it and the next one takes it over' killed
refused() { local text; text=$(on a drbdsetup secondary r0 2>&1); equal 11 $? && grep -q 'mounted on /mnt/fs' <<< "$text"; }
# Neither mounted nor written to: a descriptor is enough.
held() {
  local text status
  exec 9< /dev/ublkb0
  text=$(on a drbdsetup secondary r0 2>&1 9<&-)
  equal 11 $? && grep "opened by .* (pid $BASHPID)" <<< "$text"
  status=$?
  exec 9<&-
  return $status
}
check 'status says that it is open' eval 'on a drbdsetup status r0 | grep -q open:yes'
check 'a mounted device is not demoted, and the mount is named' refused
check 'a process that has it open is enough, and is named' held
fail_over() { umount /mnt/fs && on a drbdsetup secondary r0 && on b drbdsetup primary r0 && mount /dev/drbd1 /mnt/fs; }
check 'failover' fail_over
same() { (cd /mnt/fs && find . -type f | sort | xargs sha256sum) > /tmp/after; cmp /tmp/before /tmp/after; }
check 'the files are there' same
failing() { on b drbdsetup status r0 | grep -q 'role:Secondary force-io-failures:yes'; }
by_force() { on b drbdsetup secondary r0 --force && on b drbdsetup status r0 && failing; }
check 'a mounted device is demoted by force' by_force
# fsync tells of any failure; syncfs of none when ext4 has given its journal up before it gets to the data.
cut_off() { ! dd if=/dev/ublkb1 of=/dev/null bs=4k count=1 iflag=direct && ! dd if=/dev/zero of=/mnt/fs/new bs=4k count=1 conv=fsync; }
check 'its I/O fails' cut_off
too_early() { on b drbdsetup primary r0; equal 11 $? && failing; }
check 'no promotion before it is closed' too_early
successor() { kill -9 $(cat /tmp/b/run/engine.lock); on b udrbd-engine && on b drbdsetup status r0; }
check 'another engine takes over' successor
check 'its I/O fails still' eval 'failing && cut_off'
still_too_early() { local text; text=$(on b drbdsetup primary r0 2>&1); equal 11 $? && grep -q 'mounted on /mnt/fs' <<< "$text"; }
check 'it does not promote what is mounted either' still_too_early
closed() { umount /mnt/fs; until_true 10 eval '! failing'; }
check 'the last close ends that' closed
again() { on b drbdsetup primary r0 && mount /dev/drbd1 /mnt/fs && rm -f /mnt/fs/new && same; }
check 'a new promotion, and the files are there again' again
down() { umount /mnt/fs && on b drbdsetup down r0 && on a drbdsetup down r0; }
check 'down' down
gone() { ! ls /dev/ublkb* /dev/drbd* ; }
check 'no device is left' gone
# As the udev rules of drbd-utils have them: no number for a volume that is written without a section.
for i in 3 4 5; do truncate -s 32M /tmp/d$i; losetup /dev/loop$i /tmp/d$i; done
cat > /tmp/drbd.conf <<'E'
global { usage-count no; }
resource one {
  device minor 3; disk /dev/loop3; meta-disk internal;
  on alpha { node-id 0; address 127.0.0.1:7973; }
  on beta { node-id 1; address 127.0.0.1:7974; }
}
resource two {
  volume 0 { device minor 4; disk /dev/loop4; meta-disk internal; }
  volume 6 { device minor 5; disk /dev/loop5; meta-disk internal; }
  on alpha { node-id 0; address 127.0.0.1:7975; }
  on beta { node-id 1; address 127.0.0.1:7976; }
}
E
adm() { UDRBD_NODE=alpha on a drbdadm -c /tmp/drbd.conf "$@"; }
come_up() { adm create-md --force all && adm up all; }
check 'resources of drbdadm come up' come_up
names() { local name; for name in $(cd /dev/drbd && find . -type l | sort); do echo -n "${name#./} $(basename "$(readlink -f /dev/drbd/$name)") "; done; }
named() {
  local text="by-disk/loop3 ublkb3 by-disk/loop4 ublkb4 by-disk/loop5 ublkb5 by-res/$1 ublkb3 by-res/two/0 ublkb4 by-res/two/6 ublkb5 "
  names
  equal "$text" "$(names)"
}
check 'they have the names that udev would give them' until_true 10 named one
renamed() { on a drbdsetup rename-resource one new && names && equal ublkb3 "$(basename "$(readlink -f /dev/drbd/by-res/new)")"; }
check 'a renamed resource too' renamed
names_go() { on a drbdsetup down new && adm down two && gone; }
check 'their names go' names_go
no_word() { ! ls /tmp/a/run/config/*.unnumbered; }
check 'and what drbdadm had left for the engine' no_word
alike() { cmp -n 98000000 /tmp/a/disk /tmp/b/disk; }
check 'both disks hold the same data' alike
ends() { for node in a b; do kill $(cat /tmp/$node/run/engine.lock); done; until_true 10 eval '! pgrep -f udrbd-engine'; }
check 'the engines end when told' ends
no_bug() { ! grep -E 'internal error|ProtocolError' /tmp/a/run/engine.log /tmp/b/run/engine.log; }
check 'no internal error, no protocol error' no_bug
checks_end
