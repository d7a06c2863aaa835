# SPDX-License-Identifier: MIT
"""Code before and after a probe, as read from kernels 6.1 and 6.12, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from kpmagic.answers import Answer, Picture
from kpmagic.planted.detour import detour
from kpmagic.planted.place import Seen, compared, written
from kpmagic.planted.values import Instruction, Place
from kpmagic.saved.plain import from_plain, to_plain
from kpmagic.view.trampoline import Trampoline

FUNCTIONS = {
    0xFFFFFFFF81363790: "vfs_read",
    0xFFFFFFFF81364000: "rw_verify_area",
    0xFFFFFFFF8107A9F0: "optimized_callback",
    0xFFFFFFFF8107B120: "kprobe_ftrace_handler",
    0xFFFFFFFF8107C000: "the_next",
}
ENTRY = 0xFFFFFFFF81363790
# 6.1: vfs_read
CODE = bytes.fromhex("0f1f440000 4157 4156 4155 4154 55 53 4883ec68 65488b042528000000 4889442460")
# 6.12: the entry of a function that is called indirectly, or may once have been
ENDBR, SEALED = bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00")
BUFFER = bytes.fromhex(
    "6a18549c0f01ca4883ec1857565251504150415141524153535541544155415641574889e648bf4042961f8088ffff"
    "e8bcc9d7c0488b94249000000048899424a0000000415f415e415d415c5d5b415b415a4159415858595a5e5f4883c4"
    "184883c4109d415741564155e92c5706c1000000"
)


@dataclass
class Symbol:
    name: str


class Names:
    def at(self, address: int) -> tuple[Symbol, int] | None:
        begin = max((each for each in FUNCTIONS if each <= address), default=0)
        found = begin and address < max(FUNCTIONS)
        return (Symbol(FUNCTIONS[begin]), address - begin) if found else None


def seen(at: int, new: str, before: bytes = CODE, begin: int = 0, how: str = "jump") -> Seen:
    """Return vfs_read+begin, probed at vfs_read+at by the bytes ``new``."""
    after = before[:at] + bytes.fromhex(new) + before[at + len(bytes.fromhex(new)) :]
    return Seen(ENTRY + begin, ENTRY + at, how, before[begin:], after[begin:])


def texts(instructions: tuple[Instruction, ...]) -> list[str]:
    return [f"{each.place} {' '.join(each.text.split())}" for each in instructions]


def test_a_jump_covers_whole_instructions() -> None:
    place = compared(seen(5, "e966a8f93e", begin=5), Names())
    assert place.place == "vfs_read+0x5"
    assert texts(place.before)[:4] == [
        "vfs_read+0x5 push r15", "vfs_read+0x7 push r14", "vfs_read+0x9 push r13",
        "vfs_read+0xb push r12",
    ]  # fmt: skip
    assert texts(place.after)[:3] == [
        "vfs_read+0x5 jmp 0xffffffffc02fe000",
        "vfs_read+0xa (the rest of 'push r13', never executed now)",
        "vfs_read+0xb push r12",
    ]
    assert [(each.before, each.after) for each in place.changes] == [
        ("41", "e9"), ("57", "66"), ("41", "a8"), ("56", "f9"), ("41", "3e")]  # fmt: skip
    assert place.after[0].changed == (0, 1, 2, 3, 4)
    assert "detour buffer" in place.changes[0].meaning
    assert "0x3ef9a866" in place.changes[1].meaning


def test_an_int3_is_one_byte() -> None:
    place = compared(seen(9, "cc", begin=9, how="int3"), Names())
    assert texts(place.after)[:2] == [
        "vfs_read+0x9 int3",
        "vfs_read+0xa (the rest of 'push r13', never executed now)",
    ]
    (change,) = place.changes
    assert (change.before, change.after) == ("41", "cc")
    assert "does 'push r13' from a copy" in change.meaning


@pytest.mark.parametrize("pad", [b"", ENDBR, SEALED])
def test_a_call_takes_the_place_of_the_nop(pad: bytes) -> None:
    code = pad + CODE
    place = compared(seen(len(pad), "e86b68f93e", before=code, how="ftrace"), Names())
    assert place.after[len(pad) // 4].text.split() == ["call", hex(ENTRY + len(pad) + 0x3EF96870)]
    assert [each.before for each in place.changes] == ["0f", "1f", "44", "00", "00"]
    assert "nop" in place.changes[0].meaning
    assert any("endbr64" in each for each in place.remarks) == bool(pad)


def test_the_place_is_found_where_the_list_has_only_the_entry() -> None:
    there = seen(4, "e86b68f93e", before=ENDBR + CODE, how="ftrace")
    assert compared(replace(there, at=ENTRY), Names()).changes[0].place == "vfs_read+0x4"


def test_what_another_probe_has_changed_is_not_ours() -> None:
    there = seen(0, "e86b68f93e", how="ftrace")
    other = there.after[:5] + b"\xcc" + there.after[6:]
    place = compared(replace(there, after=other), Names())
    assert texts(place.after)[1] == "vfs_read+0x5 (changed for another probe)"
    assert len(place.changes) == 5


def test_what_is_not_known_is_said() -> None:
    there = replace(seen(9, "cc", begin=9), before=b"")
    place = compared(there, Names())
    assert place.before == ()
    assert place.changes[0].before == "??"
    assert "not known" in place.remarks[0]
    assert "what stood here" in place.changes[0].meaning


@pytest.mark.parametrize(("after", "why"), [(CODE, "nothing is changed"), (b"", "cannot be read")])
def test_a_place_without_a_probe(after: bytes, why: str) -> None:
    place = compared(Seen(ENTRY, ENTRY, "", CODE, after), Names())
    assert place.changes == ()
    assert why in place.remarks[0]


def test_the_detour_buffer_ends_behind_what_it_copied() -> None:
    now = written(seen(5, "e966a8f93e", begin=5))
    assert now is not None
    found = detour(now, BUFFER, Names())
    assert found is not None
    assert found.address == 0xFFFFFFFFC02FE000
    does = {step.does: texts(step.instructions) for step in found.steps}
    assert does["runs the probe's handler"] == ["0xffffffffc02fe02f call optimized_callback"]
    assert [line.split(" ", 1)[1] for line in list(does.values())[4]] == [
        "push r15", "push r14", "push r13"]  # fmt: skip
    assert found.steps[-1].instructions[0].target == ENTRY + 0xB


def test_an_int3_leads_nowhere() -> None:
    now = written(seen(9, "cc", begin=9))
    assert now is not None
    assert detour(now, BUFFER, Names()) is None


@pytest.mark.parametrize("cut", [1, 7, 48, 60, 106])
def test_a_detour_that_is_cut_off_is_shown_so_far(cut: int) -> None:
    now = written(seen(5, "e966a8f93e", begin=5))
    assert now is not None
    found = detour(now, BUFFER[:cut], Names())
    assert found is not None
    whole = [each for step in found.steps for each in step.instructions]
    assert sum(each.size for each in whole) <= cut


def shown(place: Place) -> Trampoline:
    return Trampoline("a_name", "6.1.0", (place,), 2)


def test_text_and_html_mark_what_was_changed() -> None:
    value = shown(compared(seen(5, "e966a8f93e", begin=5), Names()))
    assert "[e9 66 a8 f9 3e]" in repr(value)
    assert "■ a_name: vfs_read+0x5 at 0xffffffff81363795, planted by jump, on 6.1.0" in repr(value)
    assert "2 more places are not shown" in repr(value)
    assert "<mark>e9</mark> <mark>66</mark>" in value._repr_html_()
    assert "<mark>41" not in value._repr_html_()


def test_it_comes_back_from_a_recording() -> None:
    place = compared(seen(5, "e966a8f93e", begin=5), Names())
    now = written(seen(5, "e966a8f93e", begin=5))
    assert now is not None
    value = shown(replace(place, detour=detour(now, BUFFER, Names())))
    answer = Answer("cell", picture=Picture(trampoline=value))
    back = from_plain(Answer, json.loads(json.dumps(to_plain(answer))))
    assert back.picture is not None
    assert back.picture.trampoline is not None
    assert repr(Trampoline(**vars(back.picture.trampoline))) == repr(value)


def test_a_recording_can_say_anything() -> None:
    bad = "<script>\x1b[31m"
    instruction = Instruction(1, bad, bad, bad, 0, (0,))
    place = Place(bad, 1, bad, (instruction,), (instruction,), (), None, (bad,))
    value = Trampoline(bad, bad, (place,))
    assert "<script>" not in value._repr_html_()
    assert "\x1b" not in repr(value) + value._repr_html_()
