#!/kpmagic/busybox sh
# SPDX-License-Identifier: MIT
# The sandbox's first process. /kpmagic/exports has a line for each directory of the host:
# KIND TAG PATH, with KIND scratch (read-only under a scratch layer), plain (read-only) or
# mask (nothing of it may be seen) or workdir (as scratch). The root being built is /image.

b=/kpmagic/busybox
image=/image

fail() { echo "kpmagic: $1" >/dev/console; $b poweroff -f; }

$b mount --bind $image $image
$b mount -t devtmpfs dev $image/dev || fail "no devtmpfs"
$b mount -t proc proc $image/proc
$b mount -t sysfs sys $image/sys
for module in /kpmagic/modules/*; do
	[ -e "$module" ] || continue
	$b insmod "$module" || fail "cannot load $module"
done

$b mount -t tmpfs -o mode=0755 scratch /scratch
options=trans=virtio,version=9p2000.L,ro,msize=262144
while read -r kind tag path; do
	$b mkdir -p "$image$path"
	# the notebook's folder changes while the sandbox runs, the system's hardly
	cache=loose
	[ $kind = workdir ] && cache=none
	case $kind in
	plain)
		$b mount -t 9p -o $options,cache=$cache "$tag" "$image$path" || fail "cannot mount $path" ;;
	mask)
		$b mount -t tmpfs -o mode=0755,ro nothing "$image$path" ;;
	scratch|workdir)
		$b mkdir -p /lower/$tag /scratch/$tag/upper /scratch/$tag/work
		$b mount -t 9p -o $options,cache=$cache "$tag" /lower/$tag || fail "cannot mount $path"
		$b mount -t overlay -o lowerdir=/lower/$tag,upperdir=/scratch/$tag/upper,workdir=/scratch/$tag/work \
			scratch "$image$path" || fail "cannot put a scratch layer over $path" ;;
	esac
done </kpmagic/exports

$b mount --bind /kpmagic $image/run/kpmagic
cd $image && $b mount --move . / && exec $b chroot . /run/kpmagic/busybox sh /run/kpmagic/start
fail "cannot enter the new root"
