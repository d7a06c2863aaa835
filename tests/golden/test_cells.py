# SPDX-License-Identifier: MIT
"""Cells and the C they become; ``pytest tests/golden --rewrite`` accepts what is new."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compiled import TinyKernel

from kpmagic import build

HERE = Path(__file__).parent
CELLS = (HERE / "cells.txt").read_text().split("\n\n")


def _file(name: str) -> Path:
    return HERE / (re.sub(r"\W+", "-", name) + ".c")


@pytest.mark.parametrize("text", CELLS, ids=lambda text: text.split("\n")[0][8:])
def test_the_source_of_a_cell(text: str, tiny: TinyKernel, request: pytest.FixtureRequest) -> None:
    name, magic, *body = text.rstrip("\n").split("\n")
    percent, kind, line = re.fullmatch(r"CELL +(%+)(\w+) (.*)", magic).groups()  # type: ignore[union-attr]
    plan = tiny.plan(kind, line, "\n".join(body) if percent == "%%" else None)
    made = build.render(plan, tiny.compiler).text
    expected = _file(name.removeprefix("NAME").strip())
    if request.config.getoption("--rewrite"):
        expected.write_text(made)
    assert made == expected.read_text()


def test_every_golden_cell_compiles(tiny: TinyKernel) -> None:
    for text in CELLS:
        _, magic, *body = text.rstrip("\n").split("\n")
        percent, kind, line = re.fullmatch(r"CELL +(%+)(\w+) (.*)", magic).groups()  # type: ignore[union-attr]
        plan = tiny.plan(kind, line, "\n".join(body) if percent == "%%" else None)
        source = build.render(plan, tiny.compiler)
        assert tiny.compiler.compile(source.text).startswith(b"\x7fELF")


def test_headers_written_again_are_the_same_headers(tiny: TinyKernel) -> None:
    """As an installation over the same version writes them."""
    from kpmagic.compiler.client import Compiler
    from kpmagic.compiler.toolchain import bpf_directory

    for header in bpf_directory().glob("*.h"):
        header.touch()
    again = Compiler(tiny.compiler.headers)
    try:
        again.start()
    finally:
        again.close()
