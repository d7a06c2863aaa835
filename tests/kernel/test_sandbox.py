# SPDX-License-Identifier: MIT
"""The sandbox itself: what is in it, what is not, and that it ends with whoever started it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetError, TargetLost
from kpmagic.targets import exports, kernels
from kpmagic.targets.sandbox import Sandbox

# prints the ids of notebook, warden and QEMU, then waits to be killed
NOTEBOOK = """
import sys, time
from pathlib import Path
from kpmagic.targets.sandbox import Sandbox
sandbox = Sandbox(sys.argv[1], workdir=Path("/"), saved=sys.argv[2] == "copied")
port = sandbox.open_agent()
assert sandbox.restored == (sys.argv[2] == "copied")
print(*sandbox.processes(), flush=True)
while port.receive():
    pass
print("gone", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", params=["booted", "copied"])
def way(request: pytest.FixtureRequest, fetched_kernel: str) -> str:
    """How the sandbox starts: by booting, or as a copy of a machine that is saved by now."""
    if request.param == "copied":
        sandbox = Sandbox(fetched_kernel, workdir=Path("/"))
        sandbox.boot()
        sandbox.close()
    return str(request.param)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A notebook's folder with a secret beside it; in no home directory."""
    # not tmp_path: tests below look at what else of /tmp is seen
    top = Path(f"/var/tmp/kpmagic-test-{os.getpid()}")
    (top / "lesson").mkdir(parents=True)
    (top / "beside").write_text("secret")
    (top / "lesson/data.txt").write_text("41")
    yield top / "lesson"
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def inside(folder: Path, fetched_kernel: str, way: str) -> Iterator[Connection]:
    """A connection to a sandbox whose notebook lies in ``folder``."""
    sandbox = Sandbox(fetched_kernel, workdir=folder, saved=way == "copied")
    connection = Connection(sandbox)
    assert sandbox.restored == (way == "copied")
    yield connection
    connection.close()


def said(connection: Connection, command: str) -> str:
    """Run a command in the sandbox; return its output."""
    pieces: list[str] = []
    connection.run(command, lambda _, text: pieces.append(text))
    return "".join(pieces)


def test_system_is_the_hosts(inside: Connection, fetched_kernel: str) -> None:
    release = os.uname().release
    assert said(inside, "uname -r").startswith(f"{fetched_kernel}.")
    assert release not in said(inside, "uname -r")
    assert said(inside, "id -u; hostname").split() == ["0", "kpmagic"]
    listed = set(said(inside, "ls /usr/bin").split())
    assert listed == {each for each in os.listdir("/usr/bin") if not each.startswith(".")}


def test_what_a_kernel_user_expects_is_mounted(inside: Connection) -> None:
    mounted = {
        line.split()[1]: line.split()[2] for line in said(inside, "cat /proc/mounts").splitlines()
    }
    for place, kind in {
        "/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/pts": "devpts",
        "/dev/shm": "tmpfs", "/sys/fs/cgroup": "cgroup2", "/sys/fs/bpf": "bpf",
        "/sys/kernel/debug": "debugfs", "/sys/kernel/tracing": "tracefs",
    }.items():  # fmt: skip
        assert mounted[place] == kind
    assert "1 received" in said(inside, "ping -c1 127.0.0.1 || busybox ping -c1 127.0.0.1") or (
        said(inside, "cat /sys/class/net/lo/carrier").strip() == "1"
    )
    assert said(inside, "modprobe dummy && grep -c ^dummy /proc/modules").strip() == "1"


def test_descriptors_have_names(inside: Connection) -> None:
    command = "bash -c 'cat <(echo one); echo two >/dev/stdout; echo three | cat /dev/fd/0'"
    assert said(inside, command).split() == ["one", "two", "three"]


def test_secrets_are_not_seen(inside: Connection, folder: Path) -> None:
    for place in (
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/ssh",
        "/etc/ssl/private",
        folder.parent / "beside",
    ):
        assert said(inside, f"test -e {place}; echo $?").strip() == "1", place
    assert said(inside, "ls -A /root /home /var/lib /mnt").split() == [
        "/home:", "/mnt:", "/root:", "/var/lib:",
    ]  # fmt: skip
    assert said(inside, f"ls {folder.parent}").split() == ["lesson"]


def test_nothing_reaches_the_host(inside: Connection, folder: Path) -> None:
    assert said(inside, "pwd; cat data.txt").split() == [str(folder), "41"]
    assert said(inside, "echo 42 >data.txt; echo 1 >new; cat data.txt new").split() == ["42", "1"]
    assert said(inside, "touch /usr/bin/kpmagic-test && rm /usr/bin/true; ls /usr/bin/true") != ""
    assert (folder / "data.txt").read_text() == "41"
    assert sorted(os.listdir(folder)) == ["data.txt"]
    assert not Path("/usr/bin/kpmagic-test").exists()
    assert Path("/usr/bin/true").exists()


def test_a_changed_notebook_folder_is_seen(inside: Connection, folder: Path) -> None:
    assert "later.txt" not in said(inside, "cat later.txt 2>/dev/null; ls")
    (folder / "later.txt").write_text("first")
    assert said(inside, "cat later.txt") == "first"
    (folder / "later.txt").write_text("second, longer")
    assert said(inside, "cat later.txt") == "second, longer"
    (folder / "later.txt").unlink()
    assert said(inside, "ls").split().count("later.txt") == 0


def test_home_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (tmp_path, tmp_path.parent, Path("/"), Path("/etc")):
        export, cwd, note = exports.workdir(place)
        assert export is None
        assert cwd == "/tmp"
        assert str(place) in note


def test_an_oops_ends_it_with_its_last_words(fetched_kernel: str, way: str) -> None:
    sandbox = Sandbox(fetched_kernel, workdir=Path("/"), saved=way == "copied")
    port = sandbox.open_agent()
    connection = Connection(sandbox)
    with pytest.raises(TargetLost):
        connection.run("echo c > /proc/sysrq-trigger")
    deadline = time.monotonic() + 5
    while sandbox.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sandbox.alive
    assert "sysrq" in sandbox.last_words()
    assert "Kernel panic" in sandbox.last_words()
    assert sandbox.console is not None
    assert sandbox.console.path.stat().st_mode & 0o077 == 0
    with pytest.raises(TargetLost):
        port.send(b"x")
    connection.close()


def test_a_kernel_without_its_modules_says_so(fetched_kernel: str, tmp_path: Path) -> None:
    shutil.copy(kernels.find(fetched_kernel).image, tmp_path / "vmlinux")
    sandbox = Sandbox(str(tmp_path / "vmlinux"), workdir=Path("/"))
    assert sandbox.kernel.modules is None
    missing = r"this kernel has no (virtio_console|9p file system)"
    with pytest.raises(TargetError, match=missing) as caught:
        sandbox.boot()
    assert not sandbox.alive
    assert sandbox.console is not None
    assert str(sandbox.console.path) in caught.value.hint


def exists(pid: int) -> bool:
    """Tell whether a process is there; an orphan that init has yet to bury counts as gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not (state == "Z" and parent == "1")


@pytest.fixture
def notebook(fetched_kernel: str, way: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has a sandbox and has printed its processes' ids."""
    with subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK, fetched_kernel, way], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["notebook", "warden", "qemu"])
def test_nothing_is_left_whoever_is_killed(victim: int, notebook: subprocess.Popen[str]) -> None:
    assert notebook.stdout is not None
    pids = [int(pid) for pid in notebook.stdout.readline().split()]
    assert len(pids) == 3
    assert pids[0] == notebook.pid
    assert all(exists(pid) for pid in pids)
    os.kill(pids[victim], signal.SIGKILL)
    deadline = time.monotonic() + 1
    left = pids[1:]
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if exists(pid)]
        time.sleep(0.01)
    assert left == []
    if victim:
        ready, _, _ = select.select([notebook.stdout], [], [], 1)
        assert ready
        assert notebook.stdout.readline() == "gone\n"


def test_a_closed_sandbox_leaves_no_process(fetched_kernel: str, way: str) -> None:
    sandbox = Sandbox(fetched_kernel, workdir=Path("/"), saved=way == "copied")
    port = sandbox.open_agent()
    _, *pids = sandbox.processes()
    assert len(pids) == 2
    before = len(os.listdir("/proc/self/fd"))
    sandbox.close()
    assert not any(exists(pid) for pid in pids)
    assert port.receive() == b""
    assert len(os.listdir("/proc/self/fd")) == before - 3
    with pytest.raises(TargetLost):
        port.send(b"x")
    sandbox.close()
