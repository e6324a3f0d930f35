#!/bin/busybox sh
# First stage, in the initramfs: mounts the base image, lays the checkout's part over it and goes there.
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
tries=0
until $b mount -t ext4 -o noatime /dev/vda /root; do
  tries=$((tries + 1))
  [ $tries -lt 50 ] || { echo 'no root disk'; $b poweroff -f; }
  $b sleep 0.1
done
$b cp -a /layer/. /root/
$b mount --move /dev /root/dev
exec $b switch_root /root /udrbd/conformance/vm/guest/init.sh
