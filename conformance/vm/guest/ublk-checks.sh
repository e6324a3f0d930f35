#!/bin/bash
# ublk-napi's null and file targets under real use. Run by ublk.test.ts, all in one boot.
. /udrbd/conformance/vm/guest/checks.sh
MiB=1048576
size=$((192 * MiB))
backing=/tmp/backing

# serve EXAMPLE ID [OPTIONS...]: starts a target; its output is in /run/server.ID, its process id in /run/server.ID.pid.
serve() {
  local example=$1 id=$2
  shift 2
  node /udrbd/examples/$example.mjs --id $id "$@" > /run/server.$id 2>&1 &
  echo $! > /run/server.$id.pid
  until_true 20 grep -q "^ready /dev/ublkb$id" /run/server.$id || { cat /run/server.$id; return 1; }
}
server() { cat /run/server.$1.pid; }
ended() { ! kill -0 $1 2> /dev/null; }
is_gone() { [ ! -e /dev/ublkb$1 ]; }

# stop_server ID: asks it to stop; the process and the device go.
stop_server() {
  kill -TERM $(server $1)
  until_true 15 ended $(server $1) || { cat /run/server.$1; return 1; }
  until_true 5 is_gone $1
}
quick_fio() { fio --name=job --direct=1 --ioengine=libaio --minimal --output=/run/fio.log "$@" || { cat /run/fio.log; return 1; }; }

null_geometry() {
  equal $((size / 512)) "$(cat /sys/block/ublkb0/size)"
  equal 512 "$(blockdev --getss /dev/ublkb0)"
}
null_fio() {
  quick_fio --filename=/dev/ublkb0 --rw=randrw --bs=4k --iodepth=32 --time_based --runtime=3 &&
    quick_fio --filename=/dev/ublkb0 --rw=write --bs=1m --iodepth=4 --size=$size
}

discarded_blocks() { stat -c %b $backing; }
discard() {
  dd if=/dev/urandom of=/dev/ublkb0 bs=1M count=16 oflag=direct status=none
  local before=$(discarded_blocks)
  blkdiscard --offset $((4 * MiB)) --length $((8 * MiB)) /dev/ublkb0 || return 1
  blockdev --flushbufs /dev/ublkb0
  cmp -n $((8 * MiB)) <(dd if=/dev/ublkb0 bs=1M skip=4 count=8 iflag=direct status=none) /dev/zero || return 1
  echo "blocks before $before, after $(discarded_blocks)"
  [ $((before - $(discarded_blocks))) -ge $((8 * MiB / 512 / 2)) ]
}
zero_out() {
  dd if=/dev/urandom of=/dev/ublkb0 bs=1M count=8 oflag=direct status=none
  blkdiscard --zeroout --offset $MiB --length $MiB /dev/ublkb0 || return 1
  cmp -n $MiB <(dd if=/dev/ublkb0 bs=1M skip=1 count=1 iflag=direct status=none) /dev/zero &&
    ! cmp -n $MiB <(dd if=/dev/ublkb0 bs=1M count=1 iflag=direct status=none) /dev/zero > /dev/null
}
file_system() {
  mkfs.ext4 -q -F /dev/ublkb0 && mount /dev/ublkb0 /mnt
}
verified_fio() {
  quick_fio --directory=/mnt --rw=randwrite --bs=4k-64k --iodepth=16 --size=32m --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 &&
    cp -r /usr/sbin /mnt/copy && sync && diff -rq /usr/sbin /mnt/copy
}
remount_and_compare() {
  umount /mnt && e2fsck -f -n /dev/ublkb0 && mount /dev/ublkb0 /mnt && diff -rq /usr/sbin /mnt/copy && umount /mnt
}
same_bytes() {
  sync
  equal "$(dd if=/dev/ublkb0 bs=1M iflag=direct status=none | sha256sum)" "$(sha256sum < $backing)"
}
misaligned_sizes() {
  dd if=/dev/urandom of=/tmp/pattern bs=512 count=77 status=none
  dd if=/tmp/pattern of=/dev/ublkb0 bs=512 seek=13 oflag=direct status=none
  cmp /tmp/pattern <(dd if=/dev/ublkb0 bs=512 skip=13 count=77 iflag=direct status=none)
}

# busy_fio SECONDS: fio in the background; its process id in /run/busy.pid.
busy_fio() {
  fio --name=busy --filename=/dev/ublkb$1 --rw=randrw --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --time_based --runtime=$2 \
    --minimal > /run/busy.log 2>&1 &
  echo $! > /run/busy.pid
  sleep 2
}
paused_server() {
  busy_fio 0 7
  kill -STOP $(server 0); sleep 3; kill -CONT $(server 0)
  wait $(cat /run/busy.pid) || { cat /run/busy.log; return 1; }
}
stop_while_busy() {
  busy_fio 0 60
  stop_server 0 || return 1
  until_true 15 ended $(cat /run/busy.pid)
}
kill_while_busy() {
  serve file 1 --size $size --file $backing || return 1
  busy_fio 1 60
  kill -KILL $(server 1)
  until_true 20 ended $(cat /run/busy.pid) && until_true 10 is_gone 1
}
kill_while_mounted() {
  serve file 2 --size $size --file $backing || return 1
  mkfs.ext4 -q -F /dev/ublkb2 && mount /dev/ublkb2 /mnt && cp -r /etc /mnt && sync || return 1
  dd if=/dev/zero of=/mnt/more bs=1M count=16 status=none &
  kill -KILL $(server 2)
  wait $!
  umount /mnt && until_true 10 is_gone 2
}
recovered_journal() {
  serve file 3 --size $size --file $backing || return 1
  mount /dev/ublkb3 /mnt && diff -rq /etc /mnt/etc && umount /mnt && e2fsck -f -n /dev/ublkb3 && stop_server 3
}
on_block_device() {
  modprobe brd rd_nr=1 rd_size=65536
  serve file 4 --size $((64 * MiB)) --file /dev/ram0 || return 1
  quick_fio --filename=/dev/ublkb4 --rw=randwrite --bs=4k --iodepth=16 --size=16m --verify=crc32c --do_verify=1 && stop_server 4
}
user_copy() {
  serve file 8 --size $size --file $backing --user-copy || return 1
  quick_fio --filename=/dev/ublkb8 --rw=randwrite --bs=512-128k --iodepth=16 --size=24m --verify=crc32c --do_verify=1 --verify_fatal=1 || return 1
  sync
  equal "$(dd if=/dev/ublkb8 bs=1M iflag=direct status=none | sha256sum)" "$(sha256sum < $backing)" && stop_server 8
}
two_queues() {
  serve null 9 --size $size --queues 2 --user-copy || return 1
  equal 2 $(ls /sys/block/ublkb9/mq | wc -l) || return 1
  quick_fio --filename=/dev/ublkb9 --rw=randrw --bs=4k --iodepth=16 --numjobs=2 --time_based --runtime=2 && stop_server 9
}
side_by_side() {
  serve null 5 --size $size && serve null 6 --size $size || return 1
  quick_fio --rw=randread --bs=4k --iodepth=16 --time_based --runtime=2 --filename=/dev/ublkb5:/dev/ublkb6 || return 1
  stop_server 5 && stop_server 6
}
churn() {
  local round
  for round in 1 2 3 4; do
    serve null 7 --size $size && dd if=/dev/ublkb7 of=/dev/null bs=1M count=1 iflag=direct status=none && stop_server 7 || { echo "round $round"; return 1; }
  done
}
bad_arguments() {
  ! node /udrbd/examples/file.mjs --id 10 --size $size --file /nonexistent/file > /tmp/bad 2>&1 || return 1
  cat /tmp/bad
  ! grep -q '^ *at .*:[0-9]' /tmp/bad && is_gone 10
}

check 'a null target starts' serve null 0 --size $size
check 'size and block size' null_geometry
check 'fio on the null target' null_fio
check 'it stops when told to' stop_server 0
truncate -s $size $backing
check 'a file target starts' serve file 0 --size $size --file $backing
check 'single sectors at odd places' misaligned_sizes
check 'discard frees and reads as zeros' discard
check 'zero-out' zero_out
check 'mkfs and mount' file_system
check 'fio with verification, files' verified_fio
check 'unmount, fsck, mount again' remount_and_compare
check 'the device and the backing file hold the same bytes' same_bytes
check 'a server that pauses delays, nothing fails' paused_server
check 'stop while busy' stop_while_busy
check 'server killed while busy' kill_while_busy
check 'server killed below a mounted file system' kill_while_mounted
check 'what was synced is there for the next server' recovered_journal
check 'a block device behind it' on_block_device
check 'user-copy mode, verified' user_copy
check 'two queues' two_queues
check 'two devices at once' side_by_side
check 'start and stop, again and again' churn
check 'a bad backing file is refused in words' bad_arguments
checks_end
