# SPDX-License-Identifier: MIT
"""Everything kpmagic asks a kernel before it plants a probe."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kpmagic.kernel import kallsyms
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.kallsyms import Kallsyms
from kpmagic.kernel.kept import KALLSYMS, TRACEABLE, Kept, Read, first_readable, read_build_id
from kpmagic.kernel.probeable import Blacklist, Traceable
from kpmagic.model import Function


@dataclass(frozen=True)
class ModuleTypes:
    """The types of one module as it is loaded; ``file`` holds them raw, ``digest`` names them."""

    btf: Btf
    file: Path
    digest: str


@dataclass(frozen=True)
class KernelFacts:
    """What is true of one kernel since it booted.

    ``cpus`` are the possible ones. ``btf_file`` holds raw BTF, for bpftool.
    ``traceable`` is None where tracefs cannot be read; ``inline`` is name → header of functions
    that exist in headers only. ``modules_read``: whether ``symbols`` and ``traceable`` have those
    of loaded modules. ``module_types`` (by module) and ``syscalls`` (prototypes by plain name,
    ``openat``) are there as far as a probe has asked for them.
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
    module_types: Mapping[str, ModuleTypes] = field(default_factory=dict)
    syscalls: Mapping[str, Function] = field(default_factory=dict)

    @cached_property
    def features(self) -> frozenset[str]:
        """What this kernel can do, asked of its types: names of ``FEATURES``."""
        return frozenset(name for name, present in FEATURES.items() if present(self))

    def functions(self, pattern: str = "*", module: str | None = None) -> list[str]:
        """Return the names of functions that can be probed and match a shell pattern, sorted.

        Those of one ``module`` if it is given; of modules at all only if they were read.
        """
        names = self._functions if module is None else self._functions_of(module)
        return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))

    def _functions_of(self, module: str) -> frozenset[str]:
        if self.traceable is None:
            return frozenset(symbol.name for symbol in self.symbols.matching("*", module))
        return self.traceable.by_module.get(module, frozenset())

    @cached_property
    def _functions(self) -> frozenset[str]:
        if self.traceable is None:
            return frozenset(self.symbols.functions())
        names = {name for group in self.traceable.by_module.values() for name in group}
        # ftrace lists the first of several names of a function only: not __x64_sys_getpid
        names |= {other.name for first, other in self.symbols.aliases() if first.name in names}
        return frozenset(names)


def _has_enumerator(enum: str, name: str) -> Callable[[KernelFacts], bool]:
    def present(facts: KernelFacts) -> bool:
        type_id = facts.btf.type_named(f"enum {enum}")
        return type_id is not None and name in facts.btf.enumerators(type_id).values()

    return present


def _has_member(type_: str, name: str) -> Callable[[KernelFacts], bool]:
    def present(facts: KernelFacts) -> bool:
        type_id = facts.btf.type_named(type_)
        return type_id is not None and any(m.name == name for m in facts.btf.members(type_id))

    return present


FEATURES: dict[str, Callable[[KernelFacts], bool]] = {
    "attach-cookie": _has_enumerator("bpf_func_id", "BPF_FUNC_get_attach_cookie"),
    "kprobe-multi": lambda facts: (
        "register_fprobe" in facts.symbols
        and _has_enumerator("bpf_attach_type", "BPF_TRACE_KPROBE_MULTI")(facts)
    ),
    # fprobe stands on the function graph tracer: Linux 6.14, 4346ba160409
    "fprobe-graph": _has_member("struct fprobe", "hlist_array"),
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
    kept = Kept(cache / "facts" / build_id, read, progress or (lambda _: None))
    types = kept.btf(btf)
    symbols, shift = kept.symbols()
    return KernelFacts(
        release=str(hello["release"]),
        machine=str(hello["machine"]),
        build_id=build_id,
        cpus=int(hello["cpus"]),
        btf=types,
        btf_file=kept.btf_file,
        symbols=symbols,
        traceable=kept.traceable(),
        blacklist=kept.blacklist(shift),
        inline=_read_inline(inline),
    )


def with_modules(facts: KernelFacts, read: Read) -> KernelFacts:
    """Return ``facts`` with the symbols of the modules loaded now. Seconds, under emulation."""
    text = read(KALLSYMS)
    traceable = first_readable(read, TRACEABLE)
    return replace(
        facts,
        symbols=Kallsyms(kallsyms.without_generated(text)),
        traceable=Traceable.parse(traceable) if traceable else None,
        modules_read=True,
    )


def _read_inline(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: header for name, _, header in rows}
