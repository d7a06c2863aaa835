# SPDX-License-Identifier: MIT
"""``%kp trampoline NAME``: what a running probe has made of the kernel's code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..channel.connection import Connection
from ..errors import CellError, TargetError
from ..kernel_code import code
from ..planted.detour import SIZE, detour
from ..planted.disassembly import Names
from ..planted.place import Seen, compared, written
from ..planted.values import Place
from ..run import Run
from ..session import AnyRun, session
from ..view.trampoline import Trampoline

CODE = 32  # bytes of a place
MOST = 8  # places
SETTLED = 5.0  # s after which the optimiser has done what it will do, on a quiet machine


def trampoline(run: AnyRun | str) -> Trampoline:
    """Return bytes and instructions of a running probe's places, before planting and now.

    ``run`` is a Run or a probe's name. The kernel's memory is read through /proc/kcore.
    Raises CellError when it does not run, NotPermitted or TargetError where it cannot be read.
    """
    found = session.find(run) if isinstance(run, str) else run
    if not isinstance(found, Run):
        raise CellError(f"{getattr(found, 'name', found)!r} is no probe of kpmagic's: where it "
                        "has planted what is not known",
                        hint="%%kprobe … --backend kmod is a probe that is a module")  # fmt: skip
    connection = found.connection
    if not isinstance(connection, Connection):
        raise CellError(f"{found.name!r} is a recording: the kernel it ran on is gone")
    if found.state != "running":
        raise CellError(f"{found.name!r} is {found.state}: its places are as they were before",
                        hint=f"%kp start {found.name}")  # fmt: skip
    facts = (connection.facts_with_modules() if any(site.module for site in found.plan.sites)
             else connection.facts(session.progress))  # fmt: skip
    # each once: a return probe has two programs at its function's entry
    asked = list({each["address"]: each for each in found.places()}.values())
    shown = [_place(connection, each, facts.symbols) for each in asked[:MOST]]
    return Trampoline(found.name, connection.release, tuple(_each_detour_once(shown)),
                      max(0, len(asked) - MOST))  # fmt: skip


def settled(run: Run, seconds: float = SETTLED) -> Trampoline:
    """Return `trampoline` of a run when the kernel's optimiser has had its time."""
    end = time.monotonic() + seconds
    while run.state == "running" and "int3" in str(run.info["mechanism"]):
        if time.monotonic() > end:
            break
        run.wait(0.05)
    return trampoline(run)


def _place(connection: Connection, there: dict[str, Any], names: Names) -> Place:
    if not there["address"]:
        raise TargetError(f"the kernel hides the address of {there['place']}",
                          hint="as root there: sysctl kernel.kptr_restrict=1")  # fmt: skip
    after = code(connection, there["address"], CODE)
    seen = Seen(there["address"], there["at"], there["mechanism"] or "",
                bytes.fromhex(there["before"]), after)  # fmt: skip
    place, now = compared(seen, names), written(seen)
    if now is None or not now.target:
        return place
    return replace(place, detour=detour(now, code(connection, now.target, SIZE), names))


def _each_detour_once(places: list[Place]) -> Iterator[Place]:
    """Yield ``places``; of those that lead to the same code, the first has it."""
    first: dict[int, str] = {}
    for each in places:
        at = each.detour.address if each.detour is not None else 0
        if at in first:
            yield replace(each, detour=None,
                          remarks=(*each.remarks, f"it leads where {first[at]} does"))  # fmt: skip
            continue
        if at:
            first[at] = each.place
        yield each
