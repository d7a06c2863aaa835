# SPDX-License-Identifier: MIT
"""The code at probed places: as it was before a probe was planted there, and as it is now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from kpmagic.agent import arguments
from kpmagic.agent.arguments import Program
from kpmagic.agent.mechanism import of_programs, planted
from kpmagic.agent.memory import Memory
from kpmagic.agent.refusal import Refused, refused_os

SHOWN = 32  # bytes from a place on
MOST_PLACES = 64  # of a run, that are remembered
REACH = 16  # bytes from a probe on that it may have changed
PIECES, LARGEST = 64, 1 << 12

# address → the code there when no kprobe was near it, as this agent has last seen it
_before: dict[int, bytes] = {}


def remember(programs: Iterable[Program]) -> None:
    """Keep the code at places that are about to be probed, where it can be read."""
    addresses = {each.address for each in programs if each.address}
    if not addresses or len(addresses) > MOST_PLACES:
        return
    probed = [each.address for each in planted()]
    with contextlib.suppress(OSError), Memory() as memory:
        for address in addresses:
            if not any(address - REACH < other < address + SHOWN for other in probed):
                _before[address] = memory.code(address, SHOWN)


def _seen(address: int) -> bytes:
    """Return what was remembered of a place, be it with another before it; ``b""`` if nothing."""
    found = [code[address - start :] for start, code in _before.items() if start <= address]
    longest = max(found, key=len, default=b"")
    return longest if len(longest) >= REACH else b""


def places(programs: tuple[Program, ...]) -> list[dict[str, Any]]:
    """Return where programs are planted and how; see "planted" in wire.py."""
    found = []
    listed = dict(of_programs(programs))
    for program in programs:
        there = listed.get(program)
        address = program.address or (there.address if there else 0)
        found.append({
            "program": program.program,
            "place": program.place,
            "address": address,
            "at": there.address if there else address,
            "mechanism": there.mechanism if there else None,
            "before": _seen(address).hex(),
        })  # fmt: skip
    return found


def pieces(message: dict[str, Any]) -> list[bytes]:
    """Return the code at the addresses that a request names. Raises Refused."""
    asked = message.get("at")
    if not isinstance(asked, list) or len(asked) > PIECES:
        raise Refused("request", f"'at' must be a list of at most {PIECES} pieces")
    wanted = [_piece(each) for each in asked]
    try:
        with Memory() as memory:
            return [memory.code(address, size) for address, size in wanted]
    except OSError as error:
        raise refused_os(error) from None


def _piece(item: Any) -> tuple[int, int]:
    if not isinstance(item, dict):
        raise Refused("request", "each of 'at' must be an object")
    return (arguments.number(item, "address", 0, arguments.U64),
            arguments.number(item, "size", 1, LARGEST))  # fmt: skip
