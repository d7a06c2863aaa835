# SPDX-License-Identifier: MIT
"""The numbers of a run: what was hit, and where each hit went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

NO_COUNTS = ("is_return", "cost")
OF_RETURNS = ("entries", "unpaired", "in_flight")
BALANCED = ("hits", "rows", "filtered", "sampled", "dropped", "entries", "unpaired")
Emits = Literal["one", "some", "many"]
"""How many rows a hit has that no filter left out: one, at most one, or perhaps more."""


@dataclass(frozen=True, repr=False)
class Stats(Mapping[str, int | None]):
    """``hits == rows + filtered + sampled + dropped`` with one ``emit`` on each path.

    A return probe adds ``entries == hits + unpaired + in_flight``. ``missed`` is the kernel's own
    count of hits that never reached the handler. What this kernel cannot tell is None.
    ``injected`` (with --inject) is how many of the hits got another return value.
    Also a mapping: ``stats["hits"]``, ``dict(stats)``; ``cost``, which is no count, is not in it:
    the time in handlers as a share of one CPU (0.01 is 1 %).
    """

    hits: int = 0
    rows: int = 0
    filtered: int = 0
    sampled: int = 0
    dropped: int = 0
    missed: int | None = None
    entries: int | None = None
    unpaired: int | None = None
    in_flight: int | None = None
    injected: int | None = None
    is_return: bool = False
    cost: float | None = None

    @property
    def balanced(self) -> bool:
        """Whether every hit is accounted for as a row or by a reason."""
        return self.hits == self.rows + self.filtered + self.sampled + self.dropped

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={self[name]}' for name in self)})"

    def __iter__(self) -> Iterator[str]:
        names = [field.name for field in fields(self) if field.name not in NO_COUNTS]
        injects = self.injected is not None
        return iter(name for name in names if (self.is_return or name not in OF_RETURNS)
                    and (injects or name != "injected"))  # fmt: skip

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> int | None:
        if name not in list(self):
            raise KeyError(name)
        value: int | None = getattr(self, name)
        return value


def account(
    counters: Mapping[str, int],
    rows: int,
    *,
    over: bool,
    is_return: bool = False,
    emits: Emits = "some",
    missed: int | None = None,
    in_flight: int | None = None,
    injects: bool = False,
) -> Stats:
    """Return the Stats for the kernel's ``counters`` and the ``rows`` that arrived.

    A row that the kernel counted and that never arrived is a dropped one; that is known only
    when the run is ``over``. After a lost target the last counters that came may be older than
    the last rows: each row beyond them is a hit as well. Calls that nobody has judged, as the
    agent does at the end, are ``in_flight``.
    """
    now = {name: counters.get(name, 0) for name in BALANCED}
    if over:
        now["dropped"] += max(now["rows"] - rows, 0)
        hits = now["hits"] + max(rows - now["rows"], 0)
    else:
        hits = _hits_so_far(now, rows, emits)
    entries = now["entries"] + hits - now["hits"]
    if in_flight is None and entries:
        in_flight = max(entries - hits - now["unpaired"], 0)
        entries = hits + now["unpaired"] + in_flight
    cost = cost_of(counters)
    return Stats(
        hits=hits,
        rows=rows,
        filtered=now["filtered"],
        sampled=now["sampled"],
        dropped=now["dropped"],
        missed=missed,
        entries=entries if is_return else None,
        unpaired=now["unpaired"] if is_return else None,
        in_flight=in_flight if is_return else None,
        injected=counters.get("injected", 0) if injects else None,
        is_return=is_return,
        cost=None if cost is None else cost.share,
    )


def _hits_so_far(now: Mapping[str, int], rows: int, emits: Emits) -> int:
    """Return the hits of the ``rows`` that are here; the counters' are others, and come apart.

    Counters are read while handlers run: of one CPU's, some may be a hit ahead of the others.
    """
    reasons = now["filtered"] + now["sampled"] + now["dropped"]
    if emits == "one":
        return rows + reasons
    if emits == "many" and now["rows"] + reasons > now["hits"]:
        return now["hits"]
    return max(now["hits"] + rows - now["rows"], rows + reasons)


@dataclass(frozen=True)
class Cost:
    """What handlers took: ``runs`` of them, ``busy_ns`` together, in ``elapsed_ns``."""

    runs: int
    busy_ns: int
    elapsed_ns: int

    @property
    def share(self) -> float:
        """Their share of one CPU, over the whole time."""
        return self.busy_ns / max(self.elapsed_ns, 1)


def cost_of(counters: Mapping[str, int]) -> Cost | None:
    """Return what the kernel told of the cost beside ``counters``; None: nothing."""
    if "busy_ns" not in counters:
        return None
    return Cost(*(counters[field.name] for field in fields(Cost)))
