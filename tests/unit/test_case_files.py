# SPDX-License-Identifier: MIT
"""The reader of case files: what it takes, and what it says of what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import case
import pytest
from requirement import Requirement

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
    assert first.cell is not None
    assert first.cell.text == "%%kprobe vfs_read --for 1s\nif (count)\nemit(count);"
    assert first.expect == ("rows == 23", "stats.hits == 23")
    assert second.cell is not None
    assert second.cell.text == "%kretprobe vfs_raed"
    assert second.error == ("SymbolError", "did you mean")
    assert second.at == "some.case:10"


MANY = """\
# FT-13: torvalds/linux tools/testing/selftests/ftrace/test.d/kprobe/kprobe_ftrace.tc
NAME    several probes, and what is asked
SETUP   echo 1 >/dev/null
WITH    banner = int(shell("echo 7"))
ALSO    %%kprobe vfs_write --name other
  count();
ALSO    %kprobe vfs_open
PROBE   %%kprobe vfs_read --for 1s -D B=$banner
BODY    count();
ASK     %kp list
DURING  also[0].state == "running"
EXPECT  "other" in answer
REQUIRES function register_fprobe (many at once)
REQUIRES file /proc/version
"""


def test_a_case_may_have_more_than_a_probe(tmp_path: Path) -> None:
    (each,) = read(tmp_path, MANY)
    assert [cell.text for cell in each.also] == [
        "%%kprobe vfs_write --name other\ncount();",
        "%kprobe vfs_open",
    ]
    assert each.names == (("banner", 'int(shell("echo 7"))'),)
    assert (each.asks, len(each.setup), len(each.during)) == (("%kp list",), 1, 1)
    assert [need.feature for need in each.requires] == ["many at once", "file /proc/version"]
    assert [name for name, _ in each.origins] == ["FT-13"]


@dataclass
class Kernel:
    release: str

    def has_function(self, name: str) -> bool:
        return name == "vfs_read"

    def has_file(self, path: str) -> bool:
        return path == "/proc/version"


@pytest.mark.parametrize(
    ("need", "release", "holds"),
    [
        ("kernel >= 6.12", "6.12.90-amd64", True),
        ("kernel >= 6.12", "6.1.0-50-amd64", False),
        ("kernel >= 6.12", "7.2.4+deb14-amd64", True),
        ("kernel < 6.10 (a name)", "6.1.0-50-amd64", True),
        ("function vfs_read", "6.1.0", True),
        ("function vfs_raed", "6.1.0", False),
        ("no function vfs_read", "6.1.0", False),
        ("file /proc/version", "6.1.0", True),
        ("file /proc/nothing (a file)", "6.1.0", False),
    ],
)
def test_requires_asks_the_kernel(need: str, release: str, holds: bool) -> None:
    assert Requirement.parse(need, "x").holds(Kernel(release)) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NAEM x\n", "some.case:1: 'NAEM' is none of"),
        ("NAME x\nNAME y\n", "some.case:2: NAME stands twice"),
        ("  x\n", "some.case:1: an indented line"),
        ("NAME x\nPROBE kprobe f\nEXPECT 1\n", "PROBE and ALSO hold a magic line"),
        ("NAME x\nPROBE %%kprobe f\nEXPECT 1\n", "%% has a BODY"),
        ("NAME x\nPROBE %kprobe f\n", "EXPECT or ERROR"),
        ("NAME x\nPROBE %kprobe f\nEXPECT 1\nONLY shell\n", "ONLY is one of function, magic"),
        ("NAME x\nEXPECT 1\n", "a PROBE or an ASK"),
        ("NAME x\nPROBE %kprobe f\nALSO kprobe g\nEXPECT 1\n", "ALSO hold a magic line"),
        ("NAME x\nPROBE %kprobe f\nWITH 1\nEXPECT 1\n", "name = expression"),
        ("NAME x\nPROBE %kprobe f\nREQUIRES luck\nEXPECT 1\n", "REQUIRES is 'kernel >= 6.12'"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)
