# SPDX-License-Identifier: MIT
"""A body as a list of statements, for languages in which C cannot be written as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..cell.body import AGGREGATIONS, Call, scan
from ..cell.grouping import body_of, groups
from ..cell.scope import SAME_AS_FIXED, parameters
from ..cell.text import narrow, place_of, widen
from ..errors import CellError
from ..model import Plan, Site, Source
from ..record import Aggregate, Layout

COMMENT = re.compile(r"//(?:\\\r?\n|[^\n])*|/\*.*?\*/", re.DOTALL)
LABEL = "label"


@dataclass(frozen=True)
class Statement:
    """One ``emit`` or aggregation: the C of its values and keys, and what it feeds.

    ``text`` is the statement itself, ``at`` its offset in the narrow body.
    """

    word: str
    values: tuple[str, ...]
    keys: tuple[str, ...]
    text: str
    at: int
    layout: Layout | None = None
    aggregate: Aggregate | None = None


class Untranslatable:
    """Raises the error that says which statement another language has no equivalent for."""

    def __init__(self, plan: Plan, text: str, language: str) -> None:
        self.plan, self.text, self.language = plan, text, language

    def error(self, what: str, at: int = -1) -> CellError:
        """Return it, with the place in the cell of an offset of the body."""
        probe = self.plan.probe
        place = place_of(self.text, at, probe.body_line, probe.cell) \
            if at >= 0 and probe.body is not None else None  # fmt: skip
        return CellError(f"{what} has no equivalent in {self.language}", place=place,
                         hint="--as libbpf writes any cell")  # fmt: skip


def check_places(plan: Plan, no: Untranslatable) -> None:
    """Refuse places that a name alone does not tell. Raises CellError."""
    if plan.probe.options.all_addresses:
        raise no.error("--all-addresses: one name of several functions")
    for site in plan.sites:
        if not site.symbol:
            raise no.error(f"{site.spec.text!r}, an address,")


def sites_of(plan: Plan, source: Source) -> list[tuple[Site, int]]:
    """Return the sites that the body fits, each with the number of the first row it writes."""
    left_out = {each.name for each in source.left_out}
    first: dict[int, int] = {}
    rows = 0
    for numbers in groups(plan):
        site = plan.sites[numbers[0]]
        if site.spec.wild and site.symbol in left_out:
            continue
        first |= dict.fromkeys(numbers, rows)
        body = scan(narrow(body_of(plan, site)), plan.probe.body_line, plan.probe.cell)
        rows += sum(call.word == "emit" for call in body.calls)
    return [(plan.sites[number], first[number]) for number in sorted(first)]


def statements(
    plan: Plan, site: Site, row: int, source: Source, language: str
) -> list[Statement]:
    """Return the statements of a body that is nothing else; ``row`` is the number of its first.

    Raises CellError.
    """
    text = narrow(body_of(plan, site))
    body = scan(text, plan.probe.body_line, plan.probe.cell)
    no = Untranslatable(plan, text, language)
    fixed = set(SAME_AS_FIXED) - {each.name for each in parameters(plan, site)}
    calls = [call for call in body.calls if call.word in ("emit", *AGGREGATIONS)]
    _check_rest(text, calls, no)
    by_label = {each.label: each for each in source.aggregates}
    rows = iter(source.layouts[row:])
    shapes: dict[tuple[str, ...], Layout] = {}
    found = []
    for call in calls:
        values, keys, label = _arguments(text, call)
        if call.word == "emit":
            # a column that every row has anyway is not emitted once more
            values = [code for code, each in zip(values, call.arguments, strict=True)
                      if each.name or code not in fixed]  # fmt: skip
            layout = shapes.setdefault(tuple(values), next(rows, source.layouts[-1]))
            if len(values) != len(layout.fields):
                raise no.error(f"{widen(text[call.start : call.end])!r}", call.start)
            found.append(_statement(text, call, values, keys, layout=layout))
            continue
        table = by_label.get(label or widen(" ".join(text[call.start : call.end].split())))
        table = table or _nth(source, found)
        found.append(_statement(text, call, values, keys, aggregate=table))
    return found


def _nth(source: Source, found: list[Statement]) -> Aggregate:
    """Return the aggregation that follows those found: labels are the calls' texts, in order."""
    used = {id(each.aggregate) for each in found if each.aggregate is not None}
    return next(each for each in source.aggregates if id(each) not in used)


def _statement(
    text: str,
    call: Call,
    values: list[str],
    keys: list[str],
    layout: Layout | None = None,
    aggregate: Aggregate | None = None,
) -> Statement:
    return Statement(call.word, tuple(values), tuple(keys), widen(text[call.start : call.end]),
                     call.start, layout, aggregate)  # fmt: skip


def _arguments(text: str, call: Call) -> tuple[list[str], list[str], str]:
    """Return values, keys and label of a call."""
    values, keys, label = [], [], ""
    for argument in call.arguments:
        code = widen(text[argument.start : argument.end])
        if call.word == "emit" or not argument.name:
            values.append(code)
        elif argument.name == LABEL:
            label = code.strip('"')
        else:
            keys.append(code)
    return values, keys, label


def _check_rest(text: str, calls: list[Call], no: Untranslatable) -> None:
    """Refuse what stands between the calls, but for comments and semicolons."""
    rest = list(COMMENT.sub(lambda match: " " * len(match[0]), text))
    for call in calls:
        rest[call.start : call.end] = " " * (call.end - call.start)
    left = re.search(r"[^\s;][^;\n]*", "".join(rest))
    if left is not None:
        line = text[left.start() :].split("\n")[0].strip()
        raise no.error(f"{widen(line)!r}", left.start())


def replaced(code: str, names: Mapping[str, str]) -> str:
    """Return an expression with names put in place of others, but for members of structs."""

    def name(match: re.Match[str]) -> str:
        return names.get(match[2], match[2]) if not match[1] else match[0]

    return re.sub(r'("(?:\\.|[^"\\])*"|(?:->|\.)\s*)?\b([A-Za-z_]\w*)', name, code)
