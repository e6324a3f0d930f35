#!/bin/bash
# In the virtual machine: our DRBD and the kernel's on brd disks of their own, fio jobs on both in turn. See vm.ts.
guest=/udrbd/conformance/vm/guest
. $guest/figures.sh
. $guest/kernel-drbd.sh
set -e
rounds=${1:-3}
modprobe brd rd_nr=4 rd_size=131072

# The kernel's DRBD takes the minors 0 and 1, ours are 10 and 11.
kernel_drbd_up /dev/ram0 /dev/ram1
mkdir -p /tmp/alpha /tmp/beta
cat > /tmp/drbd.conf << 'CONF'
resource r0 {
  net { protocol C; }
  on alpha { node-id 0; device minor 10; disk /dev/ram2; meta-disk internal; address 127.0.0.1:7910; }
  on beta { node-id 1; device minor 11; disk /dev/ram3; meta-disk internal; address 127.0.0.1:7911; }
}
CONF
on() { local node=$1; shift; UDRBD_NODE=$node UDRBD_RUN_DIR=/tmp/$node UDRBD_STATE_DIR=/tmp/$node UDRBD_LOCK_DIR=/tmp/$node "$@"; }
for node in alpha beta; do
  on $node udrbd-engine && on $node drbdadm -c /tmp/drbd.conf create-md --force r0 >&2
  on $node drbdadm -c /tmp/drbd.conf up r0 >&2
done
on alpha drbdadm -c /tmp/drbd.conf wait-connect r0 >&2
on alpha drbdsetup new-current-uuid --clear-bitmap 10 >&2
on alpha drbdadm -c /tmp/drbd.conf primary r0 >&2
on alpha drbdadm -c /tmp/drbd.conf status r0 >&2

# Until what runs often is compiled, which takes long on an emulated processor.
for job in randwrite:4k:32 randread:4k:32; do FIGURE_SECONDS=20 figure /dev/drbd10 $job >&2; done

for round in $(seq $rounds); do
  for job in $FIGURE_JOBS; do
    figure /dev/drbd10 $job | jq -c '.device = "udrbd"'
    figure /dev/drbd0 $job | jq -c '.device = "kernel"'
  done
done

if grep -E 'ProtocolError|BAD!| err: ' /tmp/*/engine.log >&2; then exit 1; fi
on alpha drbdadm -c /tmp/drbd.conf down r0 >&2
on beta drbdadm -c /tmp/drbd.conf down r0 >&2
for node in alpha beta; do kill $(< /tmp/$node/engine.lock); done
kernel_drbd_down
