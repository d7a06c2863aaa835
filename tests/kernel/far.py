# SPDX-License-Identifier: MIT
"""A machine behind a real sshd: a sandbox with a network card that only this host reaches.

The programs come from the distribution's packages, which are unpacked and not installed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from kpmagic.channel.connection import Connection
from kpmagic.targets import qemu
from kpmagic.targets.sandbox import Sandbox

PACKAGES = ("openssh-server", "libwrap0", "sudo")

SSHD = """\
HostKey {etc}/host
AuthorizedKeysFile {etc}/user.pub
PidFile none
StrictModes no
PermitRootLogin yes
UsePAM no
PasswordAuthentication no
LogLevel ERROR
"""
SSH = """\
Host far
  HostName 127.0.0.1
  Port {port}
  HostKeyAlias far
  UserKnownHostsFile {folder}/known
Host *
  IdentityFile {folder}/user
  IdentitiesOnly yes
"""
SUDO = """\
mkdir -p /etc/pam.d
for kind in account session; do echo $kind required pam_permit.so; done >/etc/pam.d/sudo
echo auth required pam_unix.so >>/etc/pam.d/sudo
echo 'ada ALL=(root) NOPASSWD: /usr/bin/python3' >/etc/sudoers
echo 'eve ALL=(root) ALL' >>/etc/sudoers
chmod 440 /etc/sudoers
chmod 4755 /usr/bin/sudo
"""
# Run in the guest. What is started there would end with its cgroup, so sshd leaves it.
SET_UP = """\
set -e
cd {folder}
modprobe virtio_net
ip=/run/kpmagic/busybox
$ip ip addr add 10.0.2.15/24 dev eth0
$ip ip link set eth0 up
mkdir -p {etc} /run/sshd /home/ada /home/eve
cp host user.pub sshd_config {etc}/
chmod 600 {etc}/*
chmod 644 {etc}/user.pub
chown root:root {etc}/*
cat >>/etc/passwd <<END
sshd:x:74:65534::/run/sshd:/usr/sbin/nologin
ada:x:2001:2001::/home/ada:/bin/sh
eve:x:2002:2002::/home/eve:/bin/sh
END
echo "root:*:19000:0:99999:7:::" >/etc/shadow  # no password, and not locked
chown 2001 /home/ada
cp -r programs/usr/. /usr/
cp -r programs/usr/lib/x86_64-linux-gnu/. /usr/lib/x86_64-linux-gnu/
chown -R root:root /usr/bin/sudo /usr/libexec/sudo
{sudo}sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs; exec /usr/sbin/sshd -D -f {etc}/sshd_config' \
    </dev/null >/dev/console 2>&1 &
until grep -q :0016 /proc/net/tcp; do sleep 0.1; done  # port 22
"""


class FarMachine:
    """The guest, how ssh reaches it, and the connection by which it is looked at."""

    def __init__(self, kernel: str, folder: Path, **options: object) -> None:
        self.folder = folder
        self.port = free_port()
        prepare(folder, self.port)
        machine = dict(qemu.MACHINE)
        qemu.MACHINE[network(self.port)] = "the way to its sshd"
        try:
            self.inside = Connection(Sandbox(kernel, workdir=folder, saved=False, **options))  # type: ignore[arg-type]
        finally:
            qemu.MACHINE.clear()
            qemu.MACHINE.update(machine)
        said: list[str] = []
        etc = "/etc/far"
        command = SET_UP.format(folder=folder, etc=etc, sudo=SUDO)
        assert self.inside.run(command, lambda _, text: said.append(text)) == 0, said

    def said(self, command: str) -> str:
        """Return what a command prints there."""
        pieces: list[str] = []
        self.inside.run(command, lambda _, text: pieces.append(text))
        return "".join(pieces)

    def kprobes(self) -> list[str]:
        """Return the functions with a probe."""
        listed = self.inside.read("/sys/kernel/debug/kprobes/list").decode()
        return [line.split()[2] for line in listed.splitlines()]

    def cgroups(self) -> list[str]:
        """Return the cgroups of agents other than the one that is asked."""
        own = int(self.inside.hello["pid"])
        listed = self.said("ls -d /sys/fs/cgroup/kpmagic.*").split()
        return [path for path in listed if f"kpmagic.{own}." not in path]

    def close(self) -> None:
        """End it."""
        self.inside.close()


def network(port: int) -> tuple[str, ...]:
    """Return QEMU's arguments for a network that has nothing but this way in."""
    forward = f"hostfwd=tcp:127.0.0.1:{port}-:22"
    return ("-netdev", f"user,id=net,restrict=on,{forward}", "-device",
            "virtio-net-pci,netdev=net,romfile=")  # fmt: skip


def free_port() -> int:
    """Return a TCP port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare(folder: Path, port: int) -> None:
    """Fill a folder with throw-away keys, settings and the unpacked programs."""
    unpack(folder / "programs")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                       check=True)  # fmt: skip
    (folder / "sshd_config").write_text(SSHD.format(etc="/etc/far"))
    (folder / "ssh_config").write_text(SSH.format(folder=folder, port=port))
    (folder / "known").write_text(f"far {(folder / 'host.pub').read_text()}")
    (folder / "bin").mkdir()
    wrapper = folder / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o755)


def unpack(folder: Path) -> None:
    """Download the packages and unpack them. Skips the test where that is not possible."""
    download = folder.parent / "packages"
    download.mkdir()
    done = subprocess.run(["apt-get", "download", *PACKAGES], cwd=download, capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode:
        pytest.skip(f"no {', '.join(PACKAGES)} from apt: {done.stderr.strip()[-200:]}")
    for package in download.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    lib = folder / "lib"
    if lib.is_dir():  # the guest's /lib is a link
        shutil.copytree(lib, folder / "usr/lib", dirs_exist_ok=True)


def use_ssh_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system's ssh found behind a wrapper that names our settings."""
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
