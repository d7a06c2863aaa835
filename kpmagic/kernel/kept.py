# SPDX-License-Identifier: MIT
"""What one kernel says the same after every boot, kept on disk by its build id.

Generating /proc/kallsyms costs an emulated kernel seconds. KASLR moves all its addresses by one
number, which is found by reading its first lines.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kpmagic.errors import TargetError, TargetLost
from kpmagic.kernel import kallsyms
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.kallsyms import Kallsyms
from kpmagic.kernel.probeable import Blacklist, Traceable
from kpmagic.whole import write_private

TRACEABLE = (
    "/sys/kernel/tracing/available_filter_functions",
    "/sys/kernel/debug/tracing/available_filter_functions",
)
_BLACKLIST = "/sys/kernel/debug/kprobes/blacklist"
KALLSYMS = "/proc/kallsyms"
_BTF = "vmlinux.btf"
_BTF_ON_TARGET = "/sys/kernel/btf/vmlinux"
_NT_GNU_BUILD_ID = 3
_ANCHOR_BYTES = 64 << 10  # per-CPU symbols come first, some 20 KB of them; then _text


Made = TypeVar("Made")


class Read(Protocol):
    """Reads a file on the target, at most ``size`` bytes of it. Raises TargetError."""

    def __call__(self, path: str, size: int | None = None) -> bytes: ...


def read_build_id(notes: bytes) -> str:
    """Return the GNU build id in the ELF notes of /sys/kernel/notes, in hex. Raises TargetError."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name = at + 12
        start = name + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[name : name + 4] == b"GNU\0" and size:
            return notes[start : start + size].hex()
        at = start + (size + 3 & ~3)
    raise TargetError(
        "the kernel does not say which build it is: no build id in /sys/kernel/notes",
        hint="%kp doctor checks the target",
    )


def first_readable(read: Read, paths: Iterable[str]) -> bytes | None:
    """Return the first of the target's files that can be read, or None. Raises TargetLost."""
    for path in paths:
        try:
            return read(path)
        except TargetLost:
            raise
        except TargetError:
            continue
    return None


# What was made of a file, for all who probe the same kernel at the same time: 30 MB of one build.
_made: weakref.WeakValueDictionary[tuple[object, ...], Any] = weakref.WeakValueDictionary()


def _made_of(path: Path, make: Callable[[bytes], Made], *more: object) -> Made:
    """Return ``make`` of a file's content: the same object as long as somebody has it."""
    now = path.stat()
    key = (path, now.st_ino, now.st_mtime_ns, now.st_size, *more)
    made: Made | None = _made.get(key)
    if made is None:
        made = _made[key] = make(path.read_bytes())
    return made


def _symbols(path: Path, shift: int) -> Kallsyms:
    return _made_of(path, partial(Kallsyms, shift=shift), shift)


class Kept:
    """The files kept for one build, filled from the target when they are missing."""

    def __init__(self, directory: Path, read: Read, progress: Callable[[str], None]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._read = read
        self._progress = progress

    def path(self, name: str) -> Path:
        """Return where the file ``name`` is kept."""
        return self._directory / name

    def write(self, name: str, content: bytes) -> None:
        """Keep ``content``."""
        write_private(self.path(name), content)

    @property
    def btf_file(self) -> Path:
        """The kernel's raw BTF, once ``btf`` has been called."""
        return self.path(_BTF)

    def required(self, *paths: str) -> bytes:
        """Return a file of the target without which nothing works. Raises TargetError."""
        content = self.optional(*paths)
        if not content:
            raise TargetError(
                f"{paths[0]!r} cannot be read on the target",
                hint="kpmagic needs a kernel with CONFIG_KALLSYMS_ALL and CONFIG_DEBUG_INFO_BTF, "
                "and root; %kp doctor checks the target",
            )
        return content

    def optional(self, *paths: str) -> bytes | None:
        """Return the first of the target's files that can be read, or None; says so before."""
        self._progress(f"reading {paths[0]}")
        return first_readable(self._read, paths)

    def btf(self, known: bytes | None) -> Btf:
        """Return the kernel's types; a file that was damaged is replaced."""
        try:
            return _made_of(self.path(_BTF), Btf)
        except (FileNotFoundError, TargetError):
            data = known or self.required(_BTF_ON_TARGET)
        types = Btf(data)
        self.write(_BTF, data)
        return types

    def traceable(self) -> Traceable | None:
        """Return the kernel's own traceable functions, None where tracefs cannot be read."""
        if self.path("traceable").exists():
            return _made_of(self.path("traceable"), Traceable.parse)
        text = self.optional(*TRACEABLE)
        if not text:
            return None
        names = b"\n".join(line for line in text.split(b"\n") if b" " not in line)
        self.write("traceable", names)
        return Traceable.parse(names)

    def blacklist(self, shift: int) -> Blacklist:
        """Return kprobes' blacklist, empty where debugfs cannot be read."""
        if self.path("blacklist").exists():
            return Blacklist.parse(self.path("blacklist").read_bytes(), shift)
        text = self.optional(_BLACKLIST) or b""
        if text and not shift:  # its addresses are those of the symbols that are kept
            self.write("blacklist", text)
        return Blacklist.parse(text)

    def symbols(self) -> tuple[Kallsyms, int]:
        """Return the kernel's own symbols, and how far KASLR has moved the addresses kept."""
        path = self.path("kallsyms")
        if path.exists():
            with path.open("rb") as file:
                then = kallsyms.anchor(file.read(_ANCHOR_BYTES))
            now = kallsyms.anchor(self._read(KALLSYMS, _ANCHOR_BYTES))
            if then is not None and now is not None and bool(then) == bool(now):
                return _symbols(path, now - then), now - then
        text = kallsyms.without_modules(self.required(KALLSYMS))
        self.write("kallsyms", text)
        self.path("blacklist").unlink(missing_ok=True)
        return Kallsyms(text), 0
