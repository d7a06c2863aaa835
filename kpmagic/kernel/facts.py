# SPDX-License-Identifier: MIT
"""Everything kpmagic asks a kernel before it plants a probe, read once and kept by build id.

Generating /proc/kallsyms costs an emulated kernel seconds, so what the same kernel says after
every boot is kept on disk; KASLR moves all of it by one number, found from the first lines.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from kpmagic.errors import TargetError, TargetLost
from kpmagic.kernel import kallsyms
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.kallsyms import Kallsyms
from kpmagic.kernel.probeable import Blacklist, Traceable

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_BLACKLIST = "/sys/kernel/debug/kprobes/blacklist"
_KALLSYMS = "/proc/kallsyms"
_NT_GNU_BUILD_ID = 3
_ANCHOR_BYTES = 64 << 10  # per-CPU symbols come first, some 20 KB of them; then _text


class Read(Protocol):
    """Reads a file on the target, at most ``size`` bytes of it. Raises TargetError."""

    def __call__(self, path: str, size: int | None = None) -> bytes: ...


@dataclass(frozen=True)
class KernelFacts:
    """What is true of one kernel since it booted.

    ``cpus`` are the possible ones. ``btf_file`` holds raw BTF, for bpftool.
    ``traceable`` is None where tracefs cannot be read; ``inline`` is name → header of functions
    that exist in headers only. ``modules_read``: whether ``symbols`` and ``traceable`` have those
    of loaded modules.
    """

    release: str
    machine: str
    build_id: str
    cpus: int
    btf: Btf
    btf_file: Path
    symbols: Kallsyms
    traceable: Traceable | None
    blacklist: Blacklist
    inline: Mapping[str, str] = field(default_factory=dict)
    modules_read: bool = False

    @cached_property
    def features(self) -> frozenset[str]:
        """What this kernel can do, asked of its types: names of ``FEATURES``."""
        return frozenset(name for name, present in FEATURES.items() if present(self))

    def functions(self, pattern: str = "*") -> list[str]:
        """Return the names of functions that can be probed and match a shell pattern, sorted."""
        if self.traceable is None:
            return self.symbols.matching(re.sub(r"\\[zZ]$", "", fnmatch.translate(pattern)))
        names = {name for group in self.traceable.by_module.values() for name in group}
        return sorted(fnmatch.filter(names, pattern))


def _has_enumerator(enum: str, name: str) -> Callable[[KernelFacts], bool]:
    def present(facts: KernelFacts) -> bool:
        type_id = facts.btf.type_named(f"enum {enum}")
        return type_id is not None and name in facts.btf.enumerators(type_id).values()

    return present


def _link_tells_missed(facts: KernelFacts) -> bool:
    """Say whether ``struct bpf_link_info`` has ``perf_event.kprobe.missed`` (Linux 6.7)."""
    type_id = facts.btf.type_named("struct bpf_link_info")
    for name in ("perf_event", "kprobe", "missed"):
        members = () if type_id is None else facts.btf.members(type_id)
        type_id = next((m.type_id for m in members if m.name == name), None)
    return type_id is not None


FEATURES: dict[str, Callable[[KernelFacts], bool]] = {
    "link-missed": _link_tells_missed,
    "attach-cookie": _has_enumerator("bpf_func_id", "BPF_FUNC_get_attach_cookie"),
    "ring-buffer": _has_enumerator("bpf_map_type", "BPF_MAP_TYPE_RINGBUF"),
    "kprobe-multi": lambda facts: (
        "register_fprobe" in facts.symbols
        and _has_enumerator("bpf_attach_type", "BPF_TRACE_KPROBE_MULTI")(facts)
    ),
}


def gather(
    read: Read,
    hello: Mapping[str, Any],
    cache: Path,
    btf: bytes | None = None,
    inline: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> KernelFacts:
    """Return the facts of the kernel behind ``read``; ``hello`` is the agent's. Raises TargetError.

    ``btf`` is the kernel's raw BTF where it is known already, ``inline`` a file of
    ``name<TAB>header`` lines, ``cache`` the directory to keep files in.
    """
    build_id = read_build_id(read("/sys/kernel/notes"))
    store = _Store(cache / "facts" / build_id, read, progress or (lambda _: None))
    btf_file = store.path("vmlinux.btf")
    if not btf_file.exists():
        store.write("vmlinux.btf", btf or store.required("/sys/kernel/btf/vmlinux"))
    symbols, shift = store.symbols()
    traceable = store.kept("traceable", store.traceable)
    blacklist = store.kept("blacklist", lambda: store.optional(_BLACKLIST))
    return KernelFacts(
        release=str(hello["release"]),
        machine=str(hello["machine"]),
        build_id=build_id,
        cpus=int(hello["cpus"]),
        btf=Btf(btf_file.read_bytes()),
        btf_file=btf_file,
        symbols=symbols,
        traceable=Traceable.parse(traceable) if traceable else None,
        blacklist=Blacklist.parse(blacklist or b"", shift),
        inline=_read_inline(inline),
    )


def with_modules(facts: KernelFacts, read: Read) -> KernelFacts:
    """Return ``facts`` with the symbols of the modules loaded now. Seconds, under emulation."""
    text = read(_KALLSYMS)
    traceable = _first_readable(read, [f"{d}/available_filter_functions" for d in _TRACEFS])
    return replace(
        facts,
        symbols=Kallsyms(kallsyms.without_generated(text)),
        traceable=Traceable.parse(traceable) if traceable else None,
        modules_read=True,
    )


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


class _Store:
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
        """Keep ``content``: all of it or nothing, even if two notebooks do so at once."""
        handle, temporary = tempfile.mkstemp(dir=self._directory, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, self.path(name))
        except BaseException:
            os.unlink(temporary)
            raise

    def kept(self, name: str, fetch: Callable[[], bytes | None]) -> bytes | None:
        """Return the file ``name``, fetched and kept if it is not there yet."""
        if self.path(name).exists():
            return self.path(name).read_bytes()
        content = fetch()
        if content:
            self.write(name, content)
        return content

    def required(self, path: str) -> bytes:
        """Return a file of the target without which nothing works. Raises TargetError."""
        self._progress(f"reading {path}")
        return self._read(path)

    def optional(self, *paths: str) -> bytes | None:
        """Return the first of the target's files that can be read, or None."""
        self._progress(f"reading {paths[0]}")
        return _first_readable(self._read, paths)

    def traceable(self) -> bytes | None:
        """Return the names of the kernel's own traceable functions, one a line."""
        text = self.optional(*(f"{d}/available_filter_functions" for d in _TRACEFS))
        return text and b"\n".join(line for line in text.split(b"\n") if b" " not in line)

    def symbols(self) -> tuple[Kallsyms, int]:
        """Return the kernel's own symbols, and how far KASLR has moved the addresses kept."""
        path = self.path("kallsyms")
        if path.exists():
            text = path.read_bytes()
            then = kallsyms.anchor(text[:_ANCHOR_BYTES])
            now = kallsyms.anchor(self._read(_KALLSYMS, _ANCHOR_BYTES))
            if then is not None and now is not None and bool(then) == bool(now):
                return Kallsyms(text, now - then), now - then
        text = kallsyms.without_modules(self.required(_KALLSYMS))
        self.write("kallsyms", text)
        self.path("blacklist").unlink(missing_ok=True)
        return Kallsyms(text), 0


def _first_readable(read: Read, paths: Any) -> bytes | None:
    for path in paths:
        try:
            return read(path)
        except TargetLost:
            raise
        except TargetError:
            continue
    return None


def _read_inline(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: header for name, _, header in rows}
