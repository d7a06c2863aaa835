# SPDX-License-Identifier: MIT
"""Files that are there whole or not at all, even when the disk fills or two notebooks write one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_MARK = hashlib.sha256().digest_size


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when all went well, and else leaves nothing.

    What is no file, a device or a pipe, is written to and stays. Raises OSError.
    """
    here = path.exists() and not path.is_file() and not path.is_dir()
    with path.open("wb") if here else _replacing(path, mode_of(path)) as file:
        yield file


def mode_of(path: Path) -> int:
    """Return who may read what takes the place of ``path``: as before, else as the umask says."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0o666 & ~_umask()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that is its user's alone. Raises OSError."""
    with _replacing(path, 0o600) as file:
        file.write(content)


def keep(path: Path, content: bytes) -> None:
    """Write a private file for `kept`, after its SHA-256. Raises OSError."""
    write_private(path, hashlib.sha256(content).digest() + content)


def kept(path: Path) -> bytes | None:
    """Return what `keep` has written, None if nothing is there or it is damaged."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    mark, content = found[:_MARK], found[_MARK:]
    return content if hashlib.sha256(content).digest() == mark else None


@contextmanager
def _replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    target = Path(os.path.realpath(path))  # what a link leads to; a link to itself is replaced
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(draft, mode)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077
