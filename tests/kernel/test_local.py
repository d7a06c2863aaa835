# SPDX-License-Identifier: MIT
"""The local target for real: a notebook's process and its ``local`` are both in a sandbox."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import far
import platformdirs
import pytest
from test_agent import CLANG, OBJECTS

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.targets.sandbox import Sandbox

HERE = Path(__file__).parent
CAPABILITIES = "--inh-caps +bpf,+perfmon --ambient-caps +bpf,+perfmon"
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
SET_UP = """\
set -e
cd {folder}
echo ada:x:2001:2001::/tmp:/bin/sh >>/etc/passwd
echo eve:x:2002:2002::/tmp:/bin/sh >>/etc/passwd
cp -r programs/usr/. /usr/
chown -R root:root /usr/bin/sudo /usr/libexec/sudo
{sudo}"""


@pytest.fixture(scope="module")
def machine(fetched_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A sandbox with kpmagic in its working directory, and sudo."""
    folder = tmp_path_factory.mktemp("local") / "notebook"
    folder.mkdir(mode=0o755)
    for package in (kpmagic, platformdirs):
        source = Path(next(iter(package.__path__)))
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(HERE / "workloads/local_probe.py", folder)
    flags = ["-target", "bpf", "-g", "-O2", "-mcpu=v3"]
    subprocess.run([CLANG, *flags, "-c", OBJECTS / "entry.bpf.c", "-o", folder / "entry.o"],
                   check=True)  # fmt: skip
    far.unpack(folder / "programs")
    connection = Connection(Sandbox(fetched_kernel, workdir=folder))
    said: list[str] = []
    command = SET_UP.format(folder=folder, sudo=far.SUDO)
    assert connection.run(command, lambda _, text: said.append(text)) == 0, said
    yield connection
    connection.close()


def probe(machine: Connection, *, uid: int = 0, capabilities: str = "", paranoid: int = 3) -> str:
    """Run a notebook there as a user; return what it printed."""
    who = f"--reuid {uid} --regid {uid} --clear-groups" if uid else "--no-new-privs"
    command = f"setpriv {who} {capabilities} /usr/bin/python3 local_probe.py entry.o"
    pieces: list[str] = []
    # before Linux 5.11 a map is locked memory, of which a user has little
    machine.run(f"ulimit -l unlimited; echo {paranoid} >{PARANOID}; "
                f"export PYTHONPATH=. HOME=/tmp; {command} 2>&1",
                lambda _, text: pieces.append(text))  # fmt: skip
    listed = machine.read("/sys/kernel/debug/kprobes/list")
    assert listed == b"", "a probe is left"
    return "".join(pieces)


def test_root_needs_nothing(machine: Connection) -> None:
    assert probe(machine) == "agent of 0: 307 307\n"


def test_a_user_gets_there_by_sudo(machine: Connection) -> None:
    assert probe(machine, uid=2001) == "agent of 0: 307 307\n"


def test_a_user_whom_sudo_asks_is_told_the_command(machine: Connection) -> None:
    said = probe(machine, uid=2002)
    assert said.startswith("NotPermitted: local: sudo: a password is required")
    assert "echo 'eve ALL=(root) NOPASSWD: /usr/bin/python3' | sudo tee" in said


def test_capabilities_are_enough_where_the_kernel_says_so(machine: Connection) -> None:
    said = probe(machine, uid=2002, capabilities=CAPABILITIES, paranoid=2)
    assert said == "agent of 2002: 307 307\n"


def test_capabilities_are_not_enough_on_a_paranoid_kernel(machine: Connection) -> None:
    said = probe(machine, uid=2002, capabilities=CAPABILITIES, paranoid=3)
    assert said.startswith("NotPermitted: local: kpmagic: perf_event_paranoid is 3 here")
    assert "sudo sysctl kernel.perf_event_paranoid=2" in said
