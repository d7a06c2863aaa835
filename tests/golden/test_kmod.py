# SPDX-License-Identifier: MIT
"""Cells and the modules they become; ``pytest tests/golden --rewrite`` accepts what is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiled import TinyKernel

from kpmagic.analysis.analyse import analyse
from kpmagic.backends.kmod import Kmod
from kpmagic.compiler.toolchain import bpf_directory
from kpmagic.model import Source

HERE = Path(__file__).parent
CELLS = {
    "kmod-entry.c": ("kprobe", "vfs_read", "emit(count);"),
    "kmod-skip.c": ("kprobe", "vfs_read --inject --times 3 --where 'count > 1'",
                    "skip_function(-EIO, count);\n---post---\nemit(pid);"),
    "kmod-replace.c": ("kretprobe", "vfs_read --inject", "if (retval == 3)\n\tset_retval(-5);"),
    "kmod-return.c": ("kretprobe", "vfs_read --maxactive 60", "hist(latency, by = comm);"),
}


def render(tiny: TinyKernel, name: str) -> Source:
    kind, line, body = CELLS[name]
    plan = tiny.plan(kind, f"{line} --backend kmod", body)  # type: ignore[arg-type]
    return Kmod(bpf_directory()).render(analyse(plan, tiny.compiler))


@pytest.mark.parametrize("name", CELLS)
def test_the_module_of_a_cell(name: str, tiny: TinyKernel, request: pytest.FixtureRequest) -> None:
    source = render(tiny, name)
    made = source.text + "\n/* body.c */\n" + source.files["body.c"]
    if request.config.getoption("--rewrite"):
        (HERE / name).write_text(made)
    assert made == (HERE / name).read_text()


def test_what_is_shown_has_the_user_s_statements(tiny: TinyKernel) -> None:
    source = render(tiny, "kmod-entry.c")
    made = (HERE / "kmod-entry.c").read_text()
    assert source.shown == "/* handlers.c */\n" + made


def test_every_file_of_it_is_there(tiny: TinyKernel) -> None:
    source = render(tiny, "kmod-entry.c")
    assert set(source.files) == {"handlers.c", "body.c", "Makefile", "kpmagic.kmod.h",
                                 "frame.kmod.h", "chosen.h", "record.h", "body.h", "errno.h",
                                 "members.h"}  # fmt: skip
    assert f"obj-m := {source.module}.o" in source.files["Makefile"]
