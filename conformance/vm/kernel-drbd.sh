#!/bin/bash
# The mark to pass: fio on the kernel's DRBD, both sides in this machine, brd disks, protocol C.
# Run it with scripts/vm --mem 1536 conformance/vm/kernel-drbd.sh [JOB...]; prints one line of JSON for each job.
guest=/udrbd/conformance/vm/guest
. $guest/figures.sh
. $guest/kernel-drbd.sh
set -e
modprobe brd rd_nr=2 rd_size=131072
kernel_drbd_up /dev/ram0 /dev/ram1
cat /proc/drbd >&2
for job in ${*:-$FIGURE_JOBS}; do
  figure /dev/drbd0 $job
done
kernel_drbd_down
