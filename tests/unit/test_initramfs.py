# SPDX-License-Identifier: MIT
"""The sandbox's first files, the agent's archive, and the console's log."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kpmagic.targets import commands, console, exports, initramfs
from kpmagic.targets.archive import agent_archive, compiled


def unpacked(entries: list[initramfs.Entry], into: Path) -> None:
    """Unpack an archive with a program that is not ours."""
    subprocess.run([commands.find("busybox"), "cpio", "-id"], cwd=into, check=True,
                   input=initramfs.archive(entries), stderr=subprocess.DEVNULL)  # fmt: skip


def test_others_read_the_archive(tmp_path: Path) -> None:
    unpacked([
        initramfs.file("/a/b/program", b"#!/bin/sh\n", 0o755),
        initramfs.file("a/empty", b""),
        initramfs.folder("secret", 0o700),
        initramfs.link("a/link", "b/program"),
    ], tmp_path)  # fmt: skip
    assert (tmp_path / "a/b/program").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "a/b/program", os.X_OK)
    assert (tmp_path / "a/empty").read_bytes() == b""
    assert os.readlink(tmp_path / "a/link") == "b/program"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o700


def test_no_secret_is_in_the_first_files() -> None:
    entries = list(exports.files())
    copied = {each.path.removeprefix("image/") for each in entries}
    assert {"etc/passwd", "etc/hostname", "tmp", "root"} <= copied
    for path in copied:
        assert not path.endswith((".key", "shadow", "shadow-"))
        assert not path.startswith(("etc/ssh", "etc/ssl/private", "root/", "home/", "var/lib/"))
    for entry in entries:
        source = Path("/", entry.path.removeprefix("image/"))
        if stat.S_ISREG(entry.mode) and source.name not in ("hostname", "hosts"):
            assert source.stat().st_mode & 0o004, source


def test_the_agents_archive_runs_and_is_the_same_each_time(tmp_path: Path) -> None:
    assert agent_archive() == agent_archive()
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_archive())
    done = subprocess.run([sys.executable, "-I", "-S", path, "-"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=30, check=False)  # fmt: skip
    assert b'"protocol":' in done.stdout


def test_the_agents_bytecode_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    python = Path(sys.executable)
    data = compiled(agent_archive(), python)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert "kpmagic/agent/wire.pyc" in archive.namelist()
        assert not any(name.endswith(".py") for name in archive.namelist())
    (kept,) = (tmp_path / "agent").iterdir()
    done = subprocess.run([python, "-I", "-S", kept, "-"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=30, check=False)  # fmt: skip
    assert b'"protocol":' in done.stdout
    assert compiled(agent_archive(), python) == data
    assert compiled(b"no archive", python) == b"no archive"


OOPS = """\
[    5.1] sysrq: Trigger a crash
[    5.2] BUG: kernel NULL pointer dereference, address: 0000000000000008\r
[    5.2] \x1b[31mRIP: 0010:handler+0x9\x1b[0m
[    5.3] Kernel panic - not syncing: Fatal exception
"""


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which logs are."""
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    return tmp_path / "console"


def test_last_words_begin_with_the_first_complaint(logs: Path) -> None:
    log = console.Log("6.1.0-test")
    assert console.last_words(log.text()) == ""
    log.path.write_bytes(OOPS.encode())
    said = console.last_words(log.text()).splitlines()
    assert said[0].endswith("address: 0000000000000008")
    assert said[1].endswith("RIP: 0010:handler+0x9")
    assert len(said) == 3
    assert console.last_words("all is well\n") == ""


def test_the_newest_logs_are_kept(logs: Path) -> None:
    made = [console.Log("6.1.0-test").path for _ in range(console.KEEP + 3)]
    assert sorted(logs.iterdir()) == sorted(made[-console.KEEP :])
    assert made[-1].stat().st_mode & 0o077 == 0


def test_what_a_silent_machine_will_say_is_kept(logs: Path) -> None:
    silent = console.Log("6.1.0-test")
    for _ in range(2 * console.KEEP):
        console.Log("6.1.0-test")
    assert len(list(logs.iterdir())) == console.KEEP + 1
    silent.path.write_bytes(OOPS.encode())
    assert "NULL pointer" in silent.text()


def test_a_cache_that_is_emptied_keeps_no_machine_from_its_last_words(logs: Path) -> None:
    log = console.Log("6.1.0-test")
    log.path.write_bytes(OOPS.encode())
    log.path.unlink()
    assert "NULL pointer" in log.text()
