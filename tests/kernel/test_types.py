# SPDX-License-Identifier: MIT
"""Types of a real kernel and its modules: offsets as a compiler has them, trees in a notebook."""

from __future__ import annotations

import random
import re

import nbformat
import pytest
from nbclient import NotebookClient

from kpmagic import build
from kpmagic.channel.connection import Connection
from kpmagic.kernel.btf_tree import tree
from kpmagic.kernel.btf_types import Kind
from kpmagic.kernel.module_types import loaded_types

KNOWN = ("file", "task_struct", "sk_buff", "inode", "page", "kernel_clone_args", "bpf_prog")
MANY = 150


def no_types_of_modules(release: str) -> None:
    if release.startswith("5.10"):
        pytest.skip("modules have no BTF before Linux 5.11 (/sys/kernel/btf has vmlinux only)")


def test_offsets_and_sizes_are_those_of_a_compiler(sandbox: Connection) -> None:
    """The header is bpftool's, the layout of it clang's: neither is of kpmagic's making."""
    facts = sandbox.facts()
    random.seed(facts.build_id)
    names = [name for name in random.sample(sorted(set(facts.btf.names(Kind.STRUCT))), MANY)
             if facts.btf.type_named(f"struct {name}") is not None]  # fmt: skip
    checks = []
    for name in {*KNOWN, *names}:
        type_id = facts.btf.type_named(f"struct {name}")
        assert type_id is not None
        checks.append(f'_Static_assert(sizeof(struct {name}) == {facts.btf.size(type_id)}, "");')
        checks += [
            f"_Static_assert(__builtin_offsetof(struct {name}, {member.name}) == "
            f'{member.bit_offset // 8}, "{name}.{member.name}");'
            for member in facts.btf.members(type_id)
            if not member.bits and re.fullmatch(r"\w+", member.name)
        ]
    assert len(checks) > 1000
    compiler = build.compiler_for(facts.btf_file, facts.build_id)
    assert compiler.compile('#include "vmlinux.h"\n' + "\n".join(checks))


def test_the_types_of_a_module_are_there(sandbox: Connection) -> None:
    no_types_of_modules(sandbox.release)
    found = dict(loaded_types(sandbox.facts(), sandbox.read))
    types = found["overlay"]
    text = "\n".join(tree(types, types.type_named("ovl_inode") or 0, 1).lines())
    assert "struct inode vfs_inode;" in text
    assert types.is_own(types.type_named("ovl_inode") or 0)
    assert not types.is_own(types.type_named("inode") or 0)
    assert dict(loaded_types(sandbox.facts(), sandbox.read, "overlay")).keys() == {"overlay"}


def test_trees_in_a_notebook(fetched_kernel: str) -> None:
    no_types_of_modules(fetched_kernel)
    cells = (
        f"%load_ext kpmagic\n%kp target sandbox --kernel {fetched_kernel}",
        "%kp struct path",
        "%kp struct ovl_inode",
        "%kp sig overlay:ovl_open",
        "%kp sig vfs_read",
        "%kp struct file.f_path.dentry.d_name",
    )
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(made, timeout=120, kernel_name="python3").execute()
    shown = [next(o.data for o in cell.outputs if "data" in o) for cell in made.cells[1:]]
    texts = [data["text/plain"] for data in shown]
    assert texts[0].splitlines()[0] == "struct path {"
    assert texts[1].startswith("/* in module overlay */")
    assert "ovl_open(struct inode *inode, struct file *file)" in texts[2]
    assert texts[3] == "ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)"
    assert "struct qstr d_name;" in texts[4].splitlines()[0]
    pages = [data["text/html"] for data in shown]
    assert all("<details" in page and "<script" not in page for page in pages)
    assert "const struct file_operations *f_op;" in pages[3]
    assert all(len(page) < 200_000 for page in pages)
