# SPDX-License-Identifier: MIT
"""Each cell that docs/coming-from.md puts beside another tool's works as it stands."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from kpmagic.cell.syntax import parse_probe
from kpmagic.channel.connection import Connection

PAGE = (Path(__file__).parents[2] / "docs/coming-from.md").read_text()
CELL = re.compile(r"`%%(kprobe|kretprobe) ([^`]+)`(?: <br> `([^`]+)`)?")
ANY = {"f": "vfs_read", "f+5": "vfs_read+5", "symbol+offset": "vfs_read+5"}  # f: any function


def cells() -> list[tuple[str, str, str | None]]:
    found = []
    for kind, line, body in CELL.findall(PAGE):
        words = [ANY.get(word, word) for word in line.split()]
        of_f = (body or "emit();").replace("a = a", "a = count")
        found.append((kind, " ".join(words), html.unescape(of_f)))
    return found


def test_there_are_cells() -> None:
    assert len(cells()) >= 18


@pytest.mark.kernel
@pytest.mark.parametrize(("kind", "line", "body"), cells(), ids=lambda value: str(value)[:40])
def test_it_compiles(sandbox: Connection, kind: str, line: str, body: str) -> None:
    from kpmagic.starting import start

    run = start(parse_probe(kind, f"{line} -n", body), sandbox)
    assert run.artifact.object
