# SPDX-License-Identifier: MIT
"""Enums of one or two bytes keep their size in the C that is made of a kernel's types."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from elftools.elf.elffile import ELFFile

from kpmagic.compiler.toolchain import find_clang, vmlinux_header

TYPES = """
enum small { A, B } __attribute__((packed));
enum middle { C = 1, D = 300 } __attribute__((packed));
enum plain { E, F };
struct request { int before; enum small hint; char status; enum middle kind; enum plain last; };
struct request all;
"""
# as __builtin_offsetof says on the kernel's side
CHECK = """
#include "vmlinux.h"
_Static_assert(sizeof(enum small) == 1 && sizeof(enum middle) == 2, "sizes");
_Static_assert(__builtin_offsetof(struct request, status) == 5, "status");
_Static_assert(__builtin_offsetof(struct request, kind) == 6, "kind");
_Static_assert(__builtin_offsetof(struct request, last) == 8, "last");
"""


def compiled(source: str, *options: str) -> bytes:
    command = [find_clang().program, "-target", "bpf", "-g", "-c", "-x", "c", "-", "-o", "-"]
    done = subprocess.run([*command, *options], input=source.encode(), capture_output=True,
                          check=True)  # fmt: skip
    return done.stdout


def test_members_behind_a_small_enum_are_where_they_are(tmp_path: Path) -> None:
    section = ELFFile(io.BytesIO(compiled(TYPES))).get_section_by_name(".BTF")
    file = tmp_path / "types.btf"
    file.write_bytes(section.data())
    header = tmp_path / "vmlinux.h"
    header.write_bytes(vmlinux_header(file))
    assert "enum plain {\n\tE = 0,\n\tF = 1,\n};" in header.read_text()
    compiled(CHECK, "-I", str(tmp_path))
