# SPDX-License-Identifier: MIT
"""Cells and the C that BCC is given; ``pytest tests/golden --rewrite`` accepts what is new."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from compiled import TinyKernel

import kpmagic
from kpmagic.analysis.analyse import analyse
from kpmagic.backends.bcc import Bcc, maps, whole
from kpmagic.compiler.toolchain import bpf_directory
from kpmagic.model import Source

HERE = Path(__file__).parent
CELLS = {
    "bcc-entry.c": ("kprobe", "vfs_read", "emit(count); count(by = comm);"),
    "bcc-return.c": ("kretprobe", "vfs_read", "hist(latency);"),
}


def render(tiny: TinyKernel, name: str) -> Source:
    kind, line, body = CELLS[name]
    plan = tiny.plan(kind, f"{line} --backend bcc", body)  # type: ignore[arg-type]
    return Bcc().render(analyse(plan, tiny.compiler))


@pytest.mark.parametrize("name", CELLS)
def test_the_source_of_a_cell(name: str, tiny: TinyKernel, request: pytest.FixtureRequest) -> None:
    made = render(tiny, name).text
    if request.config.getoption("--rewrite"):
        (HERE / name).write_text(made)
    assert made == (HERE / name).read_text()


def test_it_is_one_text_and_knows_its_maps(tiny: TinyKernel) -> None:
    source = render(tiny, "bcc-return.c")
    text = whole(source, bpf_directory())
    assert '#include "' not in text
    assert "struct kp_header {" in text
    made = {each.name: each for each in maps(source, 3)}
    assert set(made) == {"kp_config", "kp", "kp_ring", "kp_calls",
                         "kp_table_0", "kp_table_0_keys"}  # fmt: skip
    assert made["kp"].value_size == 128 + 4 * 128
    assert made["kp_calls"].value_size == 16
    assert all(f"KP_FD_##{name}" not in text for name in made)


def test_no_macro_has_the_name_of_an_argument(tiny: TinyKernel) -> None:
    """kp is what the kernel calls a struct kernel_param *, regs a struct pt_regs *."""
    text = whole(render(tiny, "bcc-entry.c"), bpf_directory())
    macros = set(re.findall(r"^#define (\w+)", text, re.MULTILINE))
    assert {name for name in macros if not re.match("kp_|KP|bpf_|__|E[A-Z0-9]|sk_|inet_", name)} \
        <= {"SEC", "NULL"}  # fmt: skip


def test_a_wildcard_is_a_program_for_each(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read vfs_write --backend bcc", "count(by = func);")
    source = Bcc().render(analyse(plan, tiny.compiler))
    assert [(each.program, each.symbol) for each in source.programs] == [
        ("kp_0", "vfs_read"), ("kp_1", "vfs_write"),
    ]  # fmt: skip
    assert '= "vfs_write"' in source.text


def test_an_address_is_refused(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read --backend bcc", "count();")
    analysis = analyse(plan, tiny.compiler)
    nameless = replace(plan, sites=(replace(plan.sites[0], symbol=""),))
    with pytest.raises(kpmagic.CellError, match="by their names"):
        Bcc().render(replace(analysis, plan=nameless))


def test_strings_lie_on_the_stack(tiny: TinyKernel) -> None:
    body = 'char mine[] = "a;b"; // "no"\nemit(s = str("text"), count);'
    plan = tiny.plan("kprobe", "vfs_read --backend bcc", body)
    text = Bcc().render(analyse(plan, tiny.compiler)).text
    assert '((char[]){"text"})' in text
    assert 'char mine[] = "a;b";' in text


def test_a_string_behind_a_pointer_is_refused(tiny: TinyKernel) -> None:
    body = 'count();\nconst char *mine = "text";\nemit(str(mine));'
    plan = tiny.plan("kprobe", "vfs_read --backend bcc", body)
    with pytest.raises(kpmagic.CellError, match="BCC loads no constants") as caught:
        Bcc().render(analyse(plan, tiny.compiler))
    assert caught.value.place is not None
    assert caught.value.place.line == 3
