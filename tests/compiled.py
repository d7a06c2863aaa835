# SPDX-License-Identifier: MIT
"""A kernel of forty lines, precompiled: what golden and verifier tests build cells against."""

from __future__ import annotations

import fnmatch
import io
import subprocess
from pathlib import Path
from types import SimpleNamespace

from elftools.elf.elffile import ELFFile

from kpmagic.cell.fields import with_columns
from kpmagic.cell.syntax import parse_probe
from kpmagic.compiler.client import Compiler
from kpmagic.compiler.toolchain import find_clang, headers
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.btf_types import Kind as TypeKind
from kpmagic.model import Kind, Plan, Site, Spec

KERNEL = Path(__file__).parent / "golden" / "kernel.c"


class TinyKernel:
    """The kernel's types and a compiler that knows them; ``plan`` makes a cell's plan."""

    features = frozenset({"attach-cookie"})

    def __init__(self, directory: Path) -> None:
        command = [
            find_clang().program,
            "-target",
            "bpf",
            "-g",
            "-O2",
            "-c",
            str(KERNEL),
            "-o",
            "-",
        ]
        object_ = subprocess.run(command, capture_output=True, check=True).stdout
        section = ELFFile(io.BytesIO(object_)).get_section_by_name(".BTF")
        self.file = directory / "vmlinux.btf"
        self.file.write_bytes(section.data())
        self.btf = Btf(section.data())
        self.compiler = Compiler(headers(self.file, "tiny", directory))

    def plan(self, kind: Kind, line: str, body: str | None, cell: str = "In[4]") -> Plan:
        """Return the plan of a cell, as if every symbol it names were there."""
        probe = parse_probe(kind, line, body, cell=cell)
        sites = tuple(
            Site(spec, name, spec.offset, 0, self.btf.function(name))
            for spec in probe.specs
            for name in self._names(spec)
        )
        sites, _ = with_columns(probe, sites, SimpleNamespace(btf=self.btf, module_types={}))
        return Plan(probe, sites, "0.1-tiny", "tiny", 2, features=self.features)

    def _names(self, spec: Spec) -> list[str]:
        if not spec.wild:
            return [spec.symbol]
        return fnmatch.filter(sorted(self.btf.names(TypeKind.FUNC)), spec.symbol)

    @property
    def facts(self) -> SimpleNamespace:
        """What `build.build` needs of a kernel's facts."""
        return SimpleNamespace(btf_file=self.file, build_id="tiny")
