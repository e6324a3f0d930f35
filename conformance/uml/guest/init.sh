#!/bin/busybox sh
# Process 1 of a kernel peer: the host's own programs and libraries over hostfs (read-only), the stock DRBD commands, one network
# interface, and an agent on tty1 that runs commands. The command line names the host folders (uml.*) and the addresses.
export PATH=/stock/bin:/usr/sbin:/usr/bin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /host /mnt /root /etc /var/lock /var/lib/drbd /usr/lib /stock/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
word() { /bin/busybox sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }
/bin/busybox mount -t hostfs -o ro none /host
/bin/busybox ln -s /host/usr/bin /usr/bin
/bin/busybox ln -s /host/usr/sbin /usr/sbin
/bin/busybox ln -s /host/usr/lib/* /usr/lib/
/bin/busybox ln -s /host/lib64 /lib64
/bin/busybox ln -s /usr/lib /lib
/bin/busybox ln -s /host/etc/alternatives /etc/alternatives
/bin/busybox rm -f /usr/lib/modules /usr/lib/drbd
/bin/busybox ln -s /host$(word uml.modules) /usr/lib/modules
stock=/host$(word uml.stock)
/bin/busybox mkdir /usr/lib/drbd
for folder in /lib/drbd /usr/lib/drbd; do /bin/busybox ln -s $stock$folder/* /usr/lib/drbd/; done
for folder in sbin usr/sbin; do /bin/busybox ln -s $stock/$folder/* /stock/bin/; done
/bin/busybox ln -s /usr/lib/drbd/drbdsetup-84 /stock/bin/drbdsetup-84
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /run/agent
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
echo 'root:x:0:0:root:/root:/bin/sh' > /etc/passwd
echo '127.0.0.1 localhost' > /etc/hosts
hostname $(word uml.name)
ip link set lo up
ip address add $(word uml.address)/24 dev vec0
ip link set vec0 up
modprobe brd rd_nr=$(word uml.ramdisks) rd_size=$(word uml.ramdisk_kib)
modprobe drbd usermode_helper=/bin/true

# Each request is a line "ID BASE64", each answer "ID STATUS BASE64"; requests run side by side. All of it in busybox, which
# starts several times faster here than a program with libraries.
exec < /dev/tty1 > /dev/tty1 2> /dev/null
/bin/busybox stty raw -echo
echo ready
b=/bin/busybox
while read -r id text; do
  (
    cd /root
    echo "$text" | $b base64 -d > /run/agent/$id
    $b sh /run/agent/$id > /run/agent/$id.out 2>&1 < /dev/null
    status=$?
    # For whoever asks again: the console loses a line now and then.
    echo "$status" > /run/agent/$id.status
    # One write, so that answers do not mix.
    echo "$id $status $($b base64 -w 0 < /run/agent/$id.out)"
  ) &
done
exec /bin/busybox sleep 1000000
