# SPDX-License-Identifier: MIT
"""Saved machines: a guest as it was when its agent waited for the notebook, for fast copies of it.

A machine is a folder of the cache, private to the user: ``ram``, which each copy maps for itself,
so that copies share what they do not change; ``device``, what QEMU says of the rest;
``complete.json``, written last. Its name is the digest of all that went into the machine: another
kernel, QEMU, Python or agent is another machine. Nothing of a notebook is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kpmagic import cache
from kpmagic.targets.qmp import Monitor, MonitorError

RAM, DEVICE, COMPLETE = "ram", "device", "complete.json"
DRAFT = ".saving-"
KEEP = 6  # machines, some 100 MB each
LEAST_FREE = 1 << 30  # bytes on the disk
DISTRUST_SECONDS = 3600.0
PIECE = 64 << 10
# memory is a file on both sides, so it is not part of the stream; since QEMU 4.0
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


@dataclass(frozen=True)
class Saved:
    """A saved machine that has been checked; its files are open and stay, whoever removes them."""

    ram: int
    device: int

    def restore(self, monitor: Monitor) -> None:
        """Have QEMU, started with ``-incoming defer``, become the machine. Raises MonitorError."""
        monitor.do("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        monitor.give("saved", self.device)
        monitor.do("migrate-incoming", uri="fd:saved")
        monitor.migrated()
        monitor.do("cont")

    def close(self) -> None:
        """Close the files."""
        os.close(self.ram)
        os.close(self.device)


def digest(*parts: bytes | str) -> str:
    """Return the name of the machine that is made of ``parts``."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()[:32]


def find(name: str) -> Saved | None:
    """Return a saved machine, or None: there is none, or it was damaged and has been removed."""
    home = _home() / name
    if not home.is_dir():
        return None
    fds: list[int] = []
    try:
        told = json.loads((home / COMPLETE).read_bytes())
        for file in (RAM, DEVICE):
            fds.append(os.open(home / file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        found = {"name": name, RAM: _print(fds[0]), DEVICE: _print(fds[1]), "digest": _sum(fds[1])}
        if told == found:
            os.utime(home)
            return Saved(*fds)
    except (OSError, ValueError):
        pass
    for fd in fds:
        os.close(fd)
    remove(name)
    return None


def save(name: str, monitor: Monitor, ram: int) -> bool:
    """Save the guest behind ``monitor`` and let it go on; whether that was done.

    ``ram`` is the file of its memory.
    """
    home = _home()
    with _only_one(home) as alone, suppress(OSError, MonitorError):
        if not alone or distrusted(name) or shutil.disk_usage(home).free < LEAST_FREE:
            return False
        _sweep(home)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=home))
        try:
            _write(name, draft, monitor, ram)
            draft.rename(home / name)
            return True
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            monitor.do("cont")
    return False


def remove(name: str) -> None:
    """Remove a saved machine; copies of it that run are not disturbed."""
    shutil.rmtree(_home() / name, ignore_errors=True)


def distrust(name: str) -> None:
    """Remove a machine that did not come up, and have none of its kind saved for an hour."""
    remove(name)
    with suppress(OSError):
        _mark(name).touch()


def distrusted(name: str) -> bool:
    """Whether a machine of this name did not come up in the last hour."""
    try:
        return time.time() - _mark(name).stat().st_mtime < DISTRUST_SECONDS
    except OSError:
        return False


def _mark(name: str) -> Path:
    return _home() / f"{name}.failed"


def _home() -> Path:
    return cache.directory("machines")


@contextmanager
def _only_one(home: Path) -> Iterator[bool]:
    """Hold the lock under which machines are saved; False when somebody else has it.

    And where there can be none: on a file system without locks.
    """
    with open(home / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _sweep(home: Path) -> None:
    """Remove what a killed notebook left half done, and the machines used least lately."""
    for draft in home.glob(f"{DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    machines = sorted(home.glob(f"*/{COMPLETE}"), key=lambda path: path.parent.stat().st_mtime)
    for old in machines[: max(0, len(machines) - KEEP + 1)]:
        shutil.rmtree(old.parent, ignore_errors=True)
    for mark in home.glob("*.failed"):
        if not distrusted(mark.stem):
            mark.unlink(missing_ok=True)


def _write(name: str, draft: Path, monitor: Monitor, ram: int) -> None:
    monitor.do("stop")
    with _private(draft / DEVICE) as device, _private(draft / RAM) as copy:
        monitor.do("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        monitor.give("saved", device.fileno())
        monitor.do("migrate", uri="fd:saved")
        monitor.migrated()
        _copy(ram, copy.fileno())
    told: dict[str, Any] = {"name": name}
    for part in (RAM, DEVICE):
        with open(draft / part, "rb") as written:
            told[part] = _print(written.fileno())
            if part == DEVICE:
                told["digest"] = _sum(written.fileno())
    with _private(draft / COMPLETE) as file:
        file.write(json.dumps(told).encode())


def _private(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _copy(source: int, target: int) -> None:
    """Copy a file's bytes but for those that are 0, which become holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    place = 0
    while place < size:
        try:
            place = os.lseek(source, place, os.SEEK_DATA)
        except OSError:  # nothing but a hole follows
            return
        end = os.lseek(source, place, os.SEEK_HOLE)
        while place < end:
            piece = os.pread(source, min(PIECE, end - place), place)
            if piece.count(0) != len(piece):
                os.pwrite(target, piece, place)
            place += len(piece)


def _print(fd: int) -> list[int]:
    """Return what changes when a file is written to or cut. Raises OSError for others' files."""
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError("not private")
    return [found.st_size, found.st_mtime_ns]


def _sum(fd: int) -> str:
    return hashlib.sha256(os.pread(fd, os.fstat(fd).st_size, 0)).hexdigest()
