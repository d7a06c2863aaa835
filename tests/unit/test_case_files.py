# SPDX-License-Identifier: MIT
"""The reader of case files: what it takes, and what it says of what it does not."""

from __future__ import annotations

from pathlib import Path

import case
import pytest

GOOD = """\
# a comment
NAME    two lines
PROBE   %%kprobe vfs_read --for 1s
BODY    if (count)
      emit(count);
EXPECT  rows == 23
EXPECT  stats.hits == 23
REQUIRES kernel >= 6.12

NAME    an error
PROBE   %kretprobe vfs_raed
ERROR   SymbolError did you mean
"""


def read(folder: Path, text: str) -> list[case.Case]:
    path = folder / "some.case"
    path.write_text(text)
    return case.read(path)


def test_paragraphs_are_cases(tmp_path: Path) -> None:
    first, second = read(tmp_path, GOOD)
    assert first.cell == "%%kprobe vfs_read --for 1s\nif (count)\nemit(count);"
    assert first.expect == ("rows == 23", "stats.hits == 23")
    assert second.cell == "%kretprobe vfs_raed"
    assert second.error == ("SymbolError", "did you mean")
    assert second.at == "some.case:10"


@pytest.mark.parametrize(
    ("release", "fits"),
    [("6.12.90-amd64", True), ("6.1.0-50-amd64", False), ("7.2.4+deb14-amd64", True)],
)
def test_requires_compares_versions_as_numbers(tmp_path: Path, release: str, fits: bool) -> None:
    assert read(tmp_path, GOOD)[0].fits(release) is fits
    assert read(tmp_path, GOOD)[1].fits(release)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NAEM x\n", "some.case:1: 'NAEM' is none of"),
        ("NAME x\nNAME y\n", "some.case:2: NAME stands twice"),
        ("  x\n", "some.case:1: an indented line"),
        ("NAME x\nPROBE kprobe f\nEXPECT 1\n", "PROBE that is a magic line"),
        ("NAME x\nPROBE %%kprobe f\nEXPECT 1\n", "%% has a BODY"),
        ("NAME x\nPROBE %kprobe f\n", "either EXPECT or ERROR"),
        ("NAME x\nPROBE %kprobe f\nEXPECT 1\nONLY shell\n", "ONLY is one of function, magic"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)
