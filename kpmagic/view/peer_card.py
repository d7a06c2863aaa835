# SPDX-License-Identifier: MIT
"""The card of a cell that another tracer runs: its lines and its maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .card import WITH_TABLES, Card, Content, folder_note, state_text
from .clean import clean, clean_lines, clean_text
from .table import Table, grouped, of_frame, of_histogram

if TYPE_CHECKING:
    from ..peers.run import PeerRun

SAID = 6  # lines of what the tracer wrote on its error output


class PeerCard(Card):
    """Shows runs of other tracers; it has no state."""

    def content(self, run: PeerRun, tables_for: tuple[str, ...] = WITH_TABLES) -> Content:
        """Return what the card of ``run`` says now."""
        if run.options.dry_run:
            return Content(clean(head(run)), verbatim=clean_text(run.source))
        tables = _tables(run) if run.options.show in tables_for else []
        notes = tuple(map(clean, folder_note(run)))
        said = tuple(map(clean_lines, warnings(run)))
        return Content(clean(head(run)), notes, said, tuple(tables))


PEER_CARD = PeerCard()


def head(run: PeerRun) -> str:
    """Return the card's first line."""
    stats = run.stats
    rows = f"{grouped(stats.rows)} {run.unit}{'s' if stats.rows != 1 else ''}"
    numbers = [] if run.options.dry_run else [f"{rows}; {grouped(stats.dropped)} events lost"]
    where = f" {run.script.tool} on {run.info['target']} {run.info['kernel_release']}"
    return "  ".join([f"■ {run.name}", state_text(run), *numbers, where])


def warnings(run: PeerRun) -> list[str]:
    """Return what the user must not overlook."""
    found = []
    if run.stats.dropped:
        found.append(f"{run.script.tool} says that it has lost {grouped(run.stats.dropped)} events")
    if run.stopped_by == "target-lost":
        found.append(str(run.lost()))
    elif run.failure is not None or run.error:
        found.append(str(run.failure or run.error))
    said = run.said.strip().splitlines()
    if said and run.failure is None:
        found.append("\n".join(said[-SAID:]))
    return found + run.remarks


def _tables(run: PeerRun) -> list[Table]:
    found = []
    first = run.head(20)
    if len(first):
        found.append(of_frame(first, run.stats.rows, f"{run.unit}s"))
    for name, frame in run.aggregates.items():
        is_histogram = {"low", "high", "count"} <= set(frame.columns) and len(frame) > 0
        found.append(of_histogram(frame, name) if is_histogram
                     else of_frame(frame, len(frame), caption=name))  # fmt: skip
    return found
