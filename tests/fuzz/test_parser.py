# SPDX-License-Identifier: MIT
"""Cells and magic lines that nobody would write: parsed, or refused by an error of ours."""

from __future__ import annotations

import random
import time

import pytest
from amount import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled import corpus, spoil

from kpmagic.cell import body, syntax
from kpmagic.cell.text import narrow
from kpmagic.errors import KpmagicError
from kpmagic.kp.commands import options_of
from kpmagic.modules import source as modules
from kpmagic.targets import ssh

CELLS = 100_000 if FULL else 3_000
EXAMPLES = 20_000 if FULL else 300
SECONDS = 1.0
KINDS = ("kprobe", "kretprobe")


def parse(kind: str, line: str, text: str | None) -> str:
    """Return the class of error, ``""`` for none. Raises whatever else comes."""
    began = time.process_time()
    failure = None
    try:
        if kind == "kmodule":
            modules.parse_module(line, text or "", cell="In[1]")
        else:
            asked = syntax.parse_probe(kind, line, text, names={"x": 3})  # type: ignore[arg-type]
            if asked.options.where:
                body.scan_expression(narrow(asked.options.where), "In[1]", 3)
            body.scan(narrow(text or ""), 2, "In[1]")
    except KpmagicError as error:
        failure = error
    assert time.process_time() - began < SECONDS, (kind, line, text)
    assert failure is None or (failure.message and failure._render_traceback_())
    return "" if failure is None else type(failure).__name__


@pytest.mark.timeout(3600)
def test_spoiled_cells(chance: random.Random) -> None:
    cells = corpus()
    lines, bodies = [line for _, line, _ in cells], [text or "" for _, _, text in cells]
    found: dict[str, int] = {}
    for number in range(CELLS):
        kind, line, text = chance.choice(cells)
        if number % 3 != 1:
            line = spoil(line, chance, lines)
        if text is not None and number % 3 != 0:
            text = spoil(text, chance, bodies)
        try:
            outcome = parse(kind, line, text)
        except BaseException:
            print(repr((kind, line, text)))
            raise
        found[outcome] = found.get(outcome, 0) + 1
    assert sum(found.values()) == CELLS
    assert set(found) <= {"", "CellError"}
    assert min(found.get("", 0), found["CellError"]) > CELLS / 20, found


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(KINDS), st.text(max_size=200), st.none() | st.text(max_size=500))
def test_any_text(kind: str, line: str, text: str | None) -> None:
    assert parse(kind, line, text) in ("", "CellError")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=100))
def test_any_address(text: str) -> None:
    for name in (text, f"ssh://{text}"):
        try:
            address = ssh.parse(name)
        except KpmagicError:
            continue
        assert not address.host.startswith("-")
        assert not (address.user or "").startswith("-")
        words = ssh.command(address)
        assert words[words.index("--") + 1] == address.host


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_words_of_a_subcommand(words: list[str]) -> None:
    try:
        plain, options = options_of(words, ("kernel", "memory"))
    except KpmagicError:
        return
    assert len(plain) + len(options) <= len(words)
