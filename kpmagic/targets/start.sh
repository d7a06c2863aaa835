# SPDX-License-Identifier: MIT
# The sandbox's first process, in its root: the file systems a kernel user expects, the agent.

b=/run/kpmagic/busybox
fail() { echo "kpmagic: $1" >/dev/console; $b poweroff -f; }

$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs shm /dev/shm
$b mount -t debugfs debug /sys/kernel/debug
$b mount -t tracefs trace /sys/kernel/tracing
$b mount -t cgroup2 cgroup /sys/fs/cgroup
$b mount -t bpf bpf /sys/fs/bpf
$b ip link set lo up
echo kpmagic >/proc/sys/kernel/hostname
echo 3 >/proc/sys/kernel/watchdog_thresh
# taking out a probe waits for RCU several times: 256 probes would take minutes of grace periods
echo 1 >/sys/kernel/rcu_expedited

# no udev here: the port is known by its name
tries=0
port=
while [ -z "$port" ]; do
	for name in /sys/class/virtio-ports/*/name; do
		[ -e "$name" ] && read -r is <"$name" && [ "$is" = kpmagic.agent ] || continue
		port=${name%/name}
		port=/dev/${port##*/}
	done
	tries=$((tries + 1))
	[ $tries -gt 200 ] && fail "no port to the notebook"
	[ -z "$port" ] && $b usleep 20000
done

export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export TERM=dumb LANG=C.UTF-8
while read -r kind _ path; do
	# the notebook writes there while the sandbox runs: the agent sees to that
	[ "$kind" = workdir ] && export KPMAGIC_FRESH="$path"
done </run/kpmagic/exports
read -r workdir </run/kpmagic/workdir
cd "$workdir" || cd /tmp
/usr/bin/python3 -I -S /run/kpmagic/agent.pyz "$port" </dev/null >/dev/console 2>&1
$b poweroff -f
