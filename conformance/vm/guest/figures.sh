# fio figures of a block device, one line of JSON for each job. Source it.

# figure DEVICE JOB [FIO OPTIONS...]: JOB is PATTERN:BLOCK:DEPTH, such as randwrite:4k:32. FIGURE_SECONDS is 4 by default.
# Prints {"device","job","iops","mibps","lat_us"}; lat_us is the mean completion latency.
figure() {
  local device=$1 job=$2 pattern block depth
  shift 2
  IFS=: read pattern block depth <<< "$job"
  fio --name=figure --filename=$device --rw=$pattern --bs=$block --iodepth=$depth --ioengine=libaio --direct=1 \
    --time_based --ramp_time=1 --runtime=${FIGURE_SECONDS:-4} --randrepeat=1 --norandommap --output-format=json "$@" > /run/figure.json || return 1
  sed -n '/^{/,$p' /run/figure.json | jq -c --arg device $device --arg job $job '.jobs[0] | (if .write.total_ios > 0 then .write else .read end) |
    {device: $device, job: $job, iops: (.iops | floor), mibps: (.bw_bytes / 1048576 * 10 | floor / 10), lat_us: (.clat_ns.mean / 1000 | floor)}'
}

# The jobs that the project measures itself by.
FIGURE_JOBS='randwrite:4k:1 randwrite:4k:32 randread:4k:1 randread:4k:32 write:128k:8 read:128k:8'

# figures_interleaved ROUNDS DEVICE_A DEVICE_B [JOBS...]: each job on A and on B in turn, so that a busy host slows both alike.
figures_interleaved() {
  local rounds=$1 a=$2 b=$3 round job
  shift 3
  for round in $(seq $rounds); do
    for job in ${*:-$FIGURE_JOBS}; do
      figure $a $job && figure $b $job || return 1
    done
  done
}
