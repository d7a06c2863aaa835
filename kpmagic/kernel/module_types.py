# SPDX-License-Identifier: MIT
"""The types of a loaded module, which stand on those of its kernel (split BTF, Linux 5.11)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kpmagic.kernel.btf import Btf
from kpmagic.kernel.facts import KernelFacts, ModuleTypes
from kpmagic.kernel.kept import Read, first_readable
from kpmagic.model import Spec
from kpmagic.whole import write_private

ON_TARGET = "/sys/kernel/btf/{}"
LOADED = "/proc/modules"


def read_module_types(
    specs: Iterable[Spec], facts: KernelFacts, read: Read
) -> Mapping[str, ModuleTypes]:
    """Return module → types of the modules that ``specs`` are in, as far as the kernel has them."""
    names = {module for spec in specs for module in _modules(spec, facts)}
    found = {}
    for name in sorted(names & facts.symbols.modules):
        data = first_readable(read, (ON_TARGET.format(name),))
        if data:
            found[name] = _kept(name, data, facts)
    return found


def loaded_types(facts: KernelFacts, read: Read, module: str = "") -> Iterator[tuple[str, Btf]]:
    """Yield name and types of the modules that are loaded now, or of that one."""
    listed = first_readable(read, (LOADED,)) or b""
    for name in sorted(line.split()[0].decode() for line in listed.splitlines() if line):
        data = first_readable(read, (ON_TARGET.format(name),)) if module in ("", name) else None
        if data:
            yield name, Btf(data, facts.btf)


def _modules(spec: Spec, facts: KernelFacts) -> set[str]:
    """Return the modules a SPEC may be in."""
    if spec.module:
        return {spec.module}
    if spec.wild:
        return set()
    if spec.address:
        at = facts.symbols.at(spec.address)
        return {at[0].module} if at else set()
    return {symbol.module for symbol in facts.symbols.find(spec.symbol)}


def _kept(name: str, data: bytes, facts: KernelFacts) -> ModuleTypes:
    """Return the types, in a file for bpftool that has their digest in its name."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    file = Path(facts.btf_file).parent / f"{name}-{digest}.btf"
    if not file.exists():
        write_private(file, data)
    return ModuleTypes(Btf(data, facts.btf), file, digest)
