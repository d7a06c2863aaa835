#!/bin/sh
# SPDX-License-Identifier: MIT
# give_headers.sh SOURCES: lets BCC find the kernel's headers, unpacked in SOURCES, where it looks.
set -eu
modules=/lib/modules/$(uname -r)
mount -t tmpfs headers /mnt
mkdir /mnt/upper /mnt/work
ln -s "$1"/linux-headers-*[!n] /mnt/upper/build
ln -s "$1"/linux-headers-*-common /mnt/upper/source
mount -t overlay -o "lowerdir=$modules,upperdir=/mnt/upper,workdir=/mnt/work" headers "$modules"
