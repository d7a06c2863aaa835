# SPDX-License-Identifier: MIT
"""%kp trampoline: the kernel's code before and after planting, as it is in the kernel."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from test_mechanism import INSIDE, optimise, wait_for

import kpmagic
from kpmagic.answers import ENVIRONMENT
from kpmagic.channel.connection import Connection
from kpmagic.kernel_code import code
from kpmagic.kp.probed_code import settled
from kpmagic.planted.values import Place
from kpmagic.session import session

BACKENDS = ("bpf", "kmod")
# of five bytes, as gcc writes it, and as Linux 5.10 writes it again behind a probe that has left
# (arch/x86/include/asm/nops.h: P6_NOP5_ATOMIC, K8_NOP5_ATOMIC)
NOPS = ("0f1f440000", "6666666690")
# what ftrace calls: kprobes are safe from themselves since Linux 5.11
CALLED = ("kprobe_ftrace_handler", "ftrace_ops_assist_func")


def check(sandbox: Connection, place: Place) -> None:
    """What is said to be there is there."""
    for each in place.after:
        assert code(sandbox, each.address, each.size).hex() == each.code, each.place
    new = next(each for each in place.after if each.changed)
    assert "".join(each.after for each in place.changes) == new.code


def was_before(sandbox: Connection, place: Place) -> None:
    """What is said to have been there is there again, when the probe has left."""
    said = [each.code for each in place.before]
    end = time.monotonic() + 10
    while True:
        now = [code(sandbox, each.address, each.size).hex() for each in place.before]
        if now == said or time.monotonic() > end:
            break
        time.sleep(0.05)
    assert now == said


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_entry_a_nop_becomes_a_call(sandbox: Connection, backend: str) -> None:
    with kpmagic.probe("vfs_read", "count();", target=sandbox, backend=backend) as run:
        (place,) = kpmagic.trampoline(run).places
        check(sandbox, place)
    was_before(sandbox, place)
    assert place.mechanism == "ftrace"
    assert "".join(each.before for each in place.changes) in NOPS
    assert place.changes[0].after == "e8"
    assert place.detour is not None
    assert any(name in step.does for step in place.detour.steps for name in CALLED)
    assert place.detour.steps[-1].instructions[-1].mnemonic in ("ret", "jmp")


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_it_becomes_a_jump_to_a_detour(sandbox: Connection, backend: str) -> None:
    with kpmagic.probe(INSIDE, "count();", target=sandbox, backend=backend) as run:
        wait_for(run, "jump")
        (place,) = kpmagic.trampoline(run).places
        check(sandbox, place)
    was_before(sandbox, place)
    assert place.mechanism == "jump"
    assert place.changes[0].after == "e9"
    assert place.detour is not None
    steps = {step.does: step.instructions for step in place.detour.steps}
    assert [each.text.split()[-1] for each in steps["runs the probe's handler"]] == [
        "optimized_callback"
    ]
    covered = [each for each in place.before if each.address < place.address + 5]
    copied = next(listed for does, listed in steps.items() if does.startswith("a copy of"))
    assert [each.code for each in copied] == [each.code for each in covered]
    assert steps["back into the function, behind it"][0].target == covered[-1].end


def test_an_int3_is_one_byte(sandbox: Connection) -> None:
    optimise(sandbox, False)
    try:
        with kpmagic.probe(INSIDE, "count();", target=sandbox) as run:
            (place,) = kpmagic.trampoline(run).places
            check(sandbox, place)
        was_before(sandbox, place)
    finally:
        optimise(sandbox, True)
    assert place.mechanism == "int3"
    assert [each.after for each in place.changes] == ["cc"]
    assert place.detour is None


def test_with_a_handler_behind_it_no_jump_replaces_the_int3(sandbox: Connection) -> None:
    body = "count();\n---post---\ncount(label = \"behind\");"
    with kpmagic.probe(INSIDE, body, target=sandbox, backend="kmod") as run:
        time.sleep(2)  # the optimiser has run, and another probe would be a jump
        (place,) = kpmagic.trampoline(run).places
        check(sandbox, place)
    was_before(sandbox, place)
    assert (place.mechanism, run.info["mechanism"]) == ("int3", "int3")
    assert [each.after for each in place.changes] == ["cc"]
    assert place.detour is None


def test_a_replaced_probe_still_knows_what_was_there(sandbox: Connection) -> None:
    first = kpmagic.probe("vfs_read", "count();", target=sandbox)
    second = kpmagic.probe("vfs_read", "count(by = pid);", target=sandbox)
    with second:
        (place,) = kpmagic.trampoline(second).places
        assert first.state == "stopped"
    assert "".join(each.before for each in place.changes) in NOPS


def test_a_place_behind_another_probe_is_known_too(sandbox: Connection) -> None:
    """Both were seen when there was none."""
    with (
        kpmagic.probe("vfs_read", "count();", target=sandbox, backend="kmod"),
        kpmagic.probe("vfs_read", "count(by = pid);", target=sandbox, backend="kmod",
                      mechanism="int3", name="behind") as run,
    ):  # fmt: skip
        (place,) = kpmagic.trampoline(run).places
    assert place.before
    assert [each.before for each in place.changes] == [place.before[0].code[:2]]


def test_several_places_lead_to_one_trampoline(sandbox: Connection) -> None:
    with kpmagic.probe("vfs_read*", "count();", target=sandbox) as run:
        shown = kpmagic.trampoline(run)
    assert len(shown.places) > 1
    assert [place.detour is not None for place in shown.places].count(True) == 1
    assert "it leads where" in repr(shown)


def test_a_return_probe_has_one_place(sandbox: Connection) -> None:
    with kpmagic.retprobe("vfs_read", "count();", target=sandbox) as run:
        (place,) = settled(run).places
        check(sandbox, place)


def test_a_function_of_a_module(sandbox: Connection) -> None:
    with kpmagic.probe("overlay:ovl_open", "count();", target=sandbox) as run:
        (place,) = settled(run).places
        check(sandbox, place)
        assert place.place.startswith("ovl_open+")


def test_a_stopped_probe_is_refused(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read", "count();", target=sandbox, command="true")
    with pytest.raises(kpmagic.CellError, match="as they were before") as caught:
        kpmagic.trampoline(run)
    assert "%kp start vfs_read" in caught.value.hint


def test_in_a_notebook_it_is_text_and_html(cell: InteractiveShell) -> None:
    cell.run_cell("%%kprobe vfs_read --bg -q -o run\ncount();").raise_error()
    with capture_output() as shown:
        cell.run_cell("%kp trampoline vfs_read").raise_error()
    (bundle,) = [output.data for output in shown.outputs]
    assert "<mark>e8</mark>" in bundle["text/html"]
    assert "[e8 " in bundle["text/plain"]


def test_a_recorded_one_is_shown_again_without_a_kernel(
    cell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    cell.run_cell("%%kprobe vfs_read --bg -q -o run\ncount();").raise_error()
    with capture_output() as first:
        cell.run_cell("%kp trampoline vfs_read").raise_error()
    cell.run_cell("run.stop()").raise_error()
    monkeypatch.delenv(ENVIRONMENT)
    before = session.default
    kpmagic.use(kpmagic.connect(f"replay:{tmp_path}"))
    try:
        with capture_output() as second:
            cell.run_cell("%kp trampoline vfs_read").raise_error()
    finally:
        assert before is not None
        kpmagic.use(before)
    assert second.outputs[0].data == first.outputs[0].data


def test_from_a_shell_it_plants_a_probe_itself(sandbox: Connection) -> None:
    from kpmagic import __main__

    kpmagic.use(sandbox)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert __main__._trampoline([INSIDE]) == 0
    assert "planted by jump" in out.getvalue()
    assert not [run for run in session.runs() if run.state == "running"]


def test_nothing_but_code_can_be_read(sandbox: Connection) -> None:
    assert code(sandbox, 0xFFFF888000100000, 16) == b""  # all of memory, once more
    assert code(sandbox, 0x400000, 16) == b""
