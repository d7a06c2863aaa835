# SPDX-License-Identifier: MIT
"""--mechanism: where a probe must go, and why the kernel will not."""

from __future__ import annotations

import pytest

from kpmagic.cell.scope import parameters
from kpmagic.errors import AttachError
from kpmagic.model import Function, Options, Parameter, Plan, Probe, Site, Spec
from kpmagic.planted.aim import aimed, may_lose_callers, prologue, why_no_jump

NOP, CALL = bytes.fromhex("0f1f440000"), bytes.fromhex("e86b68f93e")
PUSHES = bytes.fromhex("41574156415541545553")
BEGIN = 0xFFFFFFFF81363790


class Nobody:
    def at(self, address: int) -> None:
        return None


def plan(mechanism: str, offset: int = 0, kind: str = "kprobe") -> Plan:
    function = Function("f", (Parameter("a", "int a", 1, 4),))
    spec = Spec("f", "f", offset)
    site = Site(spec, "f", offset, BEGIN + offset, function)
    options = Options(mechanism=mechanism)
    probe = Probe("kretprobe" if kind == "kretprobe" else "kprobe", (spec,), None, options)
    return Plan(probe, (site,), "6.1", "id", 2)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (NOP + PUSHES, 5),
        (CALL + PUSHES, 5),  # traced already
        (bytes.fromhex("6666666690") + PUSHES, 5),
        (bytes.fromhex("f30f1efa") + NOP + PUSHES, 9),
        (bytes.fromhex("660f1f00") + CALL + PUSHES, 9),
        (bytes.fromhex("0f1f40d6") + NOP + PUSHES, 9),
        (PUSHES + PUSHES, 0),
        (NOP[:3], 0),
        (b"", 0),
    ],
)
def test_where_a_functions_own_code_begins(head: bytes, size: int) -> None:
    assert prologue(head) == size


@pytest.mark.parametrize("mechanism", ["int3", "jump"])
def test_at_the_entry_it_goes_behind_the_call(mechanism: str) -> None:
    asked = plan(mechanism)
    site = aimed(asked, asked.sites[0], NOP + PUSHES, lambda _: True)
    assert (site.offset, site.address, site.entry) == (5, BEGIN + 5, 5)
    assert "f → f+0x5" in site.note
    assert parameters(asked, site) == asked.sites[0].function.parameters  # type: ignore[union-attr]


@pytest.mark.parametrize("mechanism", ["int3", "jump"])
def test_elsewhere_it_stays(mechanism: str) -> None:
    for offset, traced in ((9, True), (0, False)):
        asked = plan(mechanism, offset)
        assert aimed(asked, asked.sites[0], CALL + PUSHES, lambda _: traced) == asked.sites[0]  # noqa: B023


def test_ftrace_is_at_the_entry() -> None:
    asked = plan("ftrace")
    assert aimed(asked, asked.sites[0], NOP + PUSHES, lambda _: True) == asked.sites[0]
    inside = plan("ftrace", 9)
    with pytest.raises(AttachError, match=r"entry only, not from f\+0x9"):
        aimed(inside, inside.sites[0], NOP + PUSHES, lambda _: True)
    with pytest.raises(AttachError, match="no place for ftrace's call"):
        aimed(asked, asked.sites[0], PUSHES + PUSHES, lambda _: False)


def test_a_return_is_found_from_the_entry() -> None:
    asked = plan("int3", kind="kretprobe")
    with pytest.raises(AttachError, match="a return probe sits at its function's entry"):
        aimed(asked, asked.sites[0], NOP + PUSHES, lambda _: True)
    assert aimed(asked, asked.sites[0], PUSHES, lambda _: False) == asked.sites[0]


@pytest.mark.parametrize(
    ("code", "at", "why"),
    [
        ("4157 4156 4155 4154 55 53 90 90 c3", 0, ""),
        ("4157 4156 c3", 2, "ends within the 5 bytes"),
        ("4157 4156 4155 4154 ebfa 90 c3 90 90 90", 0, "jumps into"),
        ("4157 4156 4155 4154 ebf6 90 c3 90 90 90", 0, ""),  # to the first byte: the jump itself
        ("7407 4157 4156 4155 4154 c3 90", 0, "cannot be moved"),
        ("e800000000 4157 4156 4155 4154", 0, "'call"),
        ("4157 c3 4156 4155 4154 9090", 0, "'ret' cannot be moved"),
    ],
)
def test_the_optimisers_rules(code: str, at: int, why: str) -> None:
    said = why_no_jump(bytes.fromhex(code), BEGIN, BEGIN + at, Nobody())
    assert said == why if not why else why in said


@pytest.mark.parametrize(
    ("code", "lost"),
    [("55", True), ("5d c3", True), ("4157", False), ("0f1f", False), ("c3", False), ("", False)],
)
def test_where_a_walk_may_find_no_callers(code: str, lost: bool) -> None:
    assert may_lose_callers(bytes.fromhex(code)) is lost
