# SPDX-License-Identifier: MIT
"""What the agent makes of the kernel's list of probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.agent import mechanism
from kpmagic.agent.arguments import Program
from kpmagic.agent.mechanism import Planted, Watch, parse

LIST = """\
ffffffff8b0dfba0  k  vfs_read+0x0    [FTRACE]
ffffffff8b0dfba9  k  vfs_read+0x9    [OPTIMIZED]
ffffffffc0001004  r  ovl_open+0x4  overlay [DISABLED]
nonsense
"""


class Kernel:
    """A kernel's files, and its code as /proc/kcore would show it."""

    def __init__(self, folder: Path) -> None:
        self.list, self.traced = folder / "list", folder / "enabled_functions"
        self.list.write_text(LIST)
        self.traced.write_text("vfs_write (1) R    \ttramp: 0xffffffffc02fa000 (a+0x0/0x1b0)\n")
        self.bytes: dict[int, bytes] = {}

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def code(self, address: int, size: int) -> bytes:
        return self.bytes.get(address, b"")[:size]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path)
    monkeypatch.setattr(mechanism, "PROBES", str(kernel.list))
    monkeypatch.setattr(mechanism, "TRACED", (str(kernel.traced),))
    monkeypatch.setattr(mechanism, "Memory", lambda: kernel)
    return kernel


def program(symbol: str | None, offset: int = 0, address: int = 0, multi: bool = False) -> Program:
    return Program("kp_0", symbol, address or None, offset, False, multi=multi)


def test_the_kernels_list_says_how_each_is_planted() -> None:
    found = [parse(line) for line in LIST.splitlines()]
    assert found == [
        Planted(0xFFFFFFFF8B0DFBA0, "k", "vfs_read+0x0", "ftrace"),
        Planted(0xFFFFFFFF8B0DFBA9, "k", "vfs_read+0x9", "jump"),
        Planted(0xFFFFFFFFC0001004, "r", "ovl_open+0x4", "int3"),
        None,
    ]


@pytest.mark.parametrize(
    ("wanted", "how"),
    [
        ([program("vfs_read")], "ftrace"),
        ([program("an_alias", 0, 0xFFFFFFFF8B0DFBA9)], "jump"),
        ([program("behind_endbr", 0, 0xFFFFFFFFC0001000)], "int3"),
        ([program("vfs_read"), program("ovl_open", 4)], "ftrace, int3"),
        ([program("vfs_write", 0, 0xFFFFFFFF8B0E0000, multi=True)], "ftrace"),
        ([program("vfs_write", 0, 0xFFFFFFFF8B0E0000)], None),
    ],
)
def test_a_probes_mechanism(wanted: list[Program], how: str | None, kernel: Kernel) -> None:
    assert mechanism.mechanism(wanted) == how


def test_a_jump_that_is_not_written_yet_is_an_int3(kernel: Kernel) -> None:
    watch = Watch([program("vfs_read", 9)])
    assert watch.mechanism == "jump"  # as the list says it, where memory cannot be read
    kernel.bytes[0xFFFFFFFF8B0DFBA9] = b"\xcc\x55"
    assert watch.look() == "int3"
    kernel.bytes[0xFFFFFFFF8B0DFBA9] = b"\xe9\x55"
    assert watch.look() == "jump"
    assert watch.look() is None


def test_what_is_gone_stays_as_it_was(kernel: Kernel) -> None:
    watch = Watch([program("vfs_read", 9)])
    kernel.list.write_text("")
    assert watch.look() is None
    assert watch.mechanism == "jump"
