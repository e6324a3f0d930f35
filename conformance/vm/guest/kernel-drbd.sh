# The kernel's own DRBD 8.4 as both sides of a resource in one machine: /dev/drbd0 is Primary, /dev/drbd1 its peer.
# Driven with the stock commands. Source it.
stock84=/lib/drbd/drbdsetup-84

# kernel_drbd_up LOWER_A LOWER_B [CONNECT OPTIONS...]: connected, in sync and Primary when it returns.
kernel_drbd_up() {
  local lower=($1 $2) side
  shift 2
  modprobe drbd || return 1
  for side in 0 1; do
    DRBD_DONT_WARN_ON_VERSION_MISMATCH=1 /stock/bin/drbdmeta --force $side v08 ${lower[side]} internal create-md > /dev/null || return 1
    $stock84 new-resource kernel$side || return 1
    $stock84 new-minor kernel$side $side 0 || return 1
    $stock84 attach $side ${lower[side]} ${lower[side]} internal || return 1
  done
  for side in 0 1; do
    $stock84 connect kernel$side ipv4:127.0.0.1:780$side ipv4:127.0.0.1:780$((1 - side)) --protocol=${KERNEL_DRBD_PROTOCOL:-C} "$@" || return 1
  done
  until_connected 0 || return 1
  # Both are empty: no need for a first sync.
  $stock84 new-current-uuid --clear-bitmap 0 || return 1
  $stock84 primary 0 || return 1
}

until_connected() {
  local tries
  for tries in $(seq 100); do
    [ "$($stock84 cstate $1 2> /dev/null)" = Connected ] && return 0
    sleep 0.1
  done
  cat /proc/drbd
  return 1
}

kernel_drbd_down() {
  local side
  $stock84 secondary 0
  for side in 0 1; do
    $stock84 down kernel$side
  done
}
