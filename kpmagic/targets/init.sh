#!/run/kpmagic/busybox sh
# SPDX-License-Identifier: MIT
# The sandbox's first process. What is the same in every sandbox is done here, in the root that is
# being built at /image; the agent mounts the host's directories and goes there. Nothing here may
# mount a directory of the host: the machine could not be saved then.

b=/run/kpmagic/busybox
image=/image

fail() { echo "kpmagic: $1" >/dev/console; $b poweroff -f; }

build() {
	$b mount --bind $image $image
	$b mount -t devtmpfs dev $image/dev || fail "no devtmpfs"
	$b mount -t proc proc $image/proc
	$b mount -t sysfs sys $image/sys
	for module in /run/kpmagic/modules/*; do
		[ -e "$module" ] || continue
		$b insmod "$module" || fail "cannot load $module"
	done
	[ -d $image/sys/class/virtio-ports ] || fail "this kernel has no virtio_console"
	for kind in 9p overlay; do
		$b grep -q "	$kind\$" $image/proc/filesystems || fail "this kernel has no $kind file system"
	done

	$b mount -t tmpfs -o mode=0755 scratch /scratch
	$b mkdir -p $image/dev/pts $image/dev/shm
	$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts $image/dev/pts
	$b mount -t tmpfs shm $image/dev/shm
	# what udev makes elsewhere: <(…) of a shell and compilers' temporary files are opened by these
	$b ln -s /proc/self/fd $image/dev/fd
	for stream in 0:stdin 1:stdout 2:stderr; do
		$b ln -s fd/${stream%:*} $image/dev/${stream#*:}
	done
	$b mount -t securityfs security $image/sys/kernel/security
	$b mount -t debugfs debug $image/sys/kernel/debug
	$b mount -t tracefs trace $image/sys/kernel/tracing
	$b mount -t cgroup2 cgroup $image/sys/fs/cgroup
	$b mount -t bpf bpf $image/sys/fs/bpf
	$b ip link set lo up
	echo kpmagic >$image/proc/sys/kernel/hostname
	echo 3 >$image/proc/sys/kernel/watchdog_thresh
	# taking out a probe waits for RCU several times: 256 probes would take minutes of grace periods
	echo 1 >$image/sys/kernel/rcu_expedited
}

export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export TERM=dumb LANG=C.UTF-8
# as a script, an archive takes more modules than are here
agent='import sys
sys.path.insert(0, "/run/kpmagic/agent.pyz")
from kpmagic.agent.__main__ import main
sys.exit(main(["agent", "--sandbox"]))'
# Python starts meanwhile: the agent waits for the end of its input
build | /usr/bin/python3 -I -S -c "$agent" >/dev/console 2>&1
$b poweroff -f
