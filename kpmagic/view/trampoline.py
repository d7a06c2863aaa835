# SPDX-License-Identifier: MIT
"""What a probe has made of the kernel's code, as text and as HTML with the same content."""

from __future__ import annotations

from collections.abc import Iterator

from ..planted.values import Detour, Instruction, Place, Probed, Step
from .card import STYLE
from .clean import clean, escape
from .table import Table

MOST, ENDS = 7, (3, 1)  # instructions of a step that text shows: else these first and last ones
MARK = ("<style>.kp-card mark{color:inherit;background:rgba(255,150,0,.4)}"
        ".kp-card details{margin:4px 0}.kp-card summary{cursor:pointer}"
        ".kp-card td.kp-code{white-space:pre}</style>")  # fmt: skip
BYTES = ("byte at", "before", "now", "what it does now")


class Trampoline(Probed):
    """What a running probe has made of the kernel's code; what ``kpmagic.trampoline`` returns."""

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)


def text(shown: Probed) -> str:
    """Return it as text; changed bytes stand in brackets."""
    parts = [line for place in shown.places for line in _place_lines(place, shown)]
    return "\n".join(parts + [_left(shown)] * bool(shown.left))


def html(shown: Probed) -> str:
    """Return it as HTML; changed bytes are marked."""
    parts = [part for place in shown.places for part in _place_html(place, shown)]
    parts += [f"<div class='kp-note'>{escape(_left(shown))}</div>"] * bool(shown.left)
    return f"<div class='kp-card'>{STYLE}{MARK}{''.join(parts)}</div>"


def _head(place: Place, shown: Probed) -> str:
    how = f"planted by {place.mechanism}" if place.mechanism else "not in the kernel's list"
    return clean(f"■ {shown.name}: {place.place} at {place.address:#x}, {how}, "
                 f"on {shown.release}")  # fmt: skip


def _left(shown: Probed) -> str:
    return f"{shown.left} more places are not shown"


def _bytes(place: Place) -> Table:
    rows = tuple(tuple(map(clean, (each.place, each.before, each.after, each.meaning)))
                 for each in place.changes)  # fmt: skip
    return Table(BYTES, rows, (False, False, False, False))


def _place_lines(place: Place, shown: Probed) -> Iterator[str]:
    yield _head(place, shown)
    yield from (f"  {clean(remark)}" for remark in place.remarks)
    for title, listed in (("before", place.before), ("now", place.after)):
        if listed:
            yield f"  {title}"
            yield from _listing(listed)
    if place.changes:
        yield _bytes(place).text()
    if place.detour is not None:
        yield from _detour_lines(place.detour)


def _detour_lines(detour: Detour) -> Iterator[str]:
    yield f"  {clean(detour.title)}, at {detour.address:#x}"
    for step in detour.steps:
        yield f"    {clean(step.does)}"
        yield from (f"  {line}" for line in _step_lines(step))


def _step_lines(step: Step) -> Iterator[str]:
    first, last = ENDS
    listed = step.instructions
    if len(listed) <= MOST:
        yield from _listing(listed)
        return
    yield from _listing(listed[:first])
    yield f"    … {len(listed) - first - last} more"
    yield from _listing(listed[-last:])


def _listing(listed: tuple[Instruction, ...]) -> Iterator[str]:
    width = max(len(each.place) for each in listed)
    for each in listed:
        yield f"    {clean(each.place):<{width}}  {_marked(each):<32} {clean(each.text)}".rstrip()


def _marked(each: Instruction) -> str:
    """Return an instruction's bytes, changed ones in brackets: ``[e9 66 a8 f9 3e]``."""
    pairs = _pairs(each)
    said = [f"[{pair}]" if number in each.changed else f" {pair} "
            for number, pair in enumerate(pairs)]  # fmt: skip
    return "".join(said).replace("][", " ").replace("  ", " ")


def _place_html(place: Place, shown: Probed) -> Iterator[str]:
    yield f"<div class='kp-head'>{escape(_head(place, shown))}</div>"
    yield from (f"<div class='kp-note'>{escape(remark)}</div>" for remark in place.remarks)
    sides = [(title, listed) for title, listed in (("before", place.before), ("now", place.after))
             if listed]  # fmt: skip
    yield "".join(_listing_html(listed, title) for title, listed in sides)
    if place.changes:
        yield _bytes(place).html()
    if place.detour is not None:
        yield _detour_html(place.detour)


def _detour_html(detour: Detour) -> str:
    steps = "".join(f"<div class='kp-note'>{escape(step.does)}</div>"
                    + _listing_html(step.instructions) for step in detour.steps)  # fmt: skip
    title = f"{detour.title}, at {detour.address:#x}"
    return f"<details><summary>{escape(title)}</summary>{steps}</details>"


def _listing_html(listed: tuple[Instruction, ...], title: str = "") -> str:
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    rows = "".join(
        f"<tr><td>{escape(each.place)}</td><td>{_marked_html(each)}</td>"
        f"<td class='kp-code'>{escape(each.text)}</td></tr>"
        for each in listed
    )
    return f"<table>{caption}{rows}</table>"


def _marked_html(each: Instruction) -> str:
    return " ".join(f"<mark>{escape(pair)}</mark>" if number in each.changed else escape(pair)
                    for number, pair in enumerate(_pairs(each)))  # fmt: skip


def _pairs(each: Instruction) -> list[str]:
    """Return its bytes as pairs of digits; a recording may hold anything."""
    return [clean(each.code[at : at + 2]) for at in range(0, len(each.code), 2)]
