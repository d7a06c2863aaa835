# SPDX-License-Identifier: MIT
"""A run's card: its state, its sum, its first rows; as text and as HTML with the same content."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cell.values import ring_size, show_share, show_size
from ..errors import KpmagicError
from ..run import Run
from ..stats import Stats
from .clean import clean, clean_lines, clean_text, escape
from .places import place_notes
from .quiet import quiet_notes
from .table import Table, grouped, of_frame, of_histogram

if TYPE_CHECKING:
    import pandas as pd

# shown as typed: what ended a run and belongs to an option
AS_TYPED = {"for": "--for", "while": "--while", "max-events": "--max-events",
            "max-time": "--max-time", "max-overhead": "--max-overhead"}  # fmt: skip
# the wire's reasons in END
MISSED = {
    "probe": "while another probe was being handled on that CPU",
    "return": "of calls beyond those whose return the kernel had room to remember",
    "program": "while a BPF program was running on that CPU",
}
WITH_TABLES = ("table", "plot")  # of --show: a card alone has no plots
# currentColor and no background: readable in light and dark
STYLE = (
    "<style>.kp-card{font-size:13px}.kp-card .kp-head{font-family:monospace;white-space:pre-wrap}"
    ".kp-card .kp-note{opacity:.75;white-space:pre-wrap}"
    ".kp-card .kp-warn{border-left:3px solid currentColor;padding-left:6px;white-space:pre-wrap}"
    ".kp-card table{border-collapse:collapse;margin:4px 0;font-family:monospace}"
    ".kp-card caption{text-align:left}"
    ".kp-card th,.kp-card td{padding:1px 8px;text-align:left;border:0;color:inherit;"
    "background:none}.kp-card th{border-bottom:1px solid currentColor}"
    ".kp-card td.kp-n{text-align:right}</style>"
)


@dataclass(frozen=True)
class Content:
    """What a card says: one line, notes, warnings, tables, and text of any length (a source)."""

    head: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    verbatim: str = ""


class Card:
    """Shows runs; it has no state."""

    def content(self, run: Any, tables_for: tuple[str, ...] = WITH_TABLES) -> Content:
        """Return what the card says now; tables where --show is one of ``tables_for``."""
        return content(run, tables_for)

    def text(self, run: Any) -> str:
        """Return the card as text."""
        card = self.content(run)
        parts = [card.head, *(f"  {note}" for note in card.notes)]
        parts += [f"  ! {warning}" for warning in card.warnings]
        parts += [table.text() for table in card.tables]
        return "\n".join(parts + [card.verbatim] * bool(card.verbatim))

    def html(self, run: Any, tables_for: tuple[str, ...] = WITH_TABLES) -> str:
        """Return the card as HTML."""
        card = self.content(run, tables_for)
        parts = [f"<div class='kp-head'>{escape(card.head)}</div>"]
        parts += [f"<div class='kp-note'>{_lines(note)}</div>" for note in card.notes]
        parts += [f"<div class='kp-warn'>{_lines(warning)}</div>" for warning in card.warnings]
        parts += [table.html() for table in card.tables]
        if card.verbatim:
            parts.append(f"<pre>{html.escape(card.verbatim)}</pre>")
        return f"<div class='kp-card'>{STYLE}{''.join(parts)}</div>"

    def plot(self, run: Any, kind: str | None, **columns: str) -> Any:
        """Return a plotly Figure; see Shown.plot."""
        from .plots import plot
        from .plots_data import Wanted

        return plot(run, kind, Wanted(**columns))

    def flame(self, run: Any, **chosen: str) -> Any:
        """Return a plotly Figure; see Shown.flame."""
        from .flame import flame

        return flame(run, **chosen)

    def live(self, run: Any, kind: str | None) -> Any:
        """Return a widget; see Shown.live."""
        from .live_plot import LivePlot
        from .panel import as_widget

        return as_widget(LivePlot(run, kind, self))

    def panel(self, run: Any) -> Any:
        """Return a widget; see Shown.panel."""
        from .panel import ProbePanel, as_widget

        return as_widget(ProbePanel(lambda: [run]))


CARD = Card()


def _lines(text: str) -> str:
    return "\n".join(escape(line) for line in text.splitlines())


def content(run: Run, tables_for: tuple[str, ...] = WITH_TABLES) -> Content:
    """Return what the card of ``run`` says now; tables where --show is one of ``tables_for``."""
    head = clean(head_line(run))
    notes = tuple(map(clean, place_notes(run) + folder_note(run) + _planted_note(run)
                            + _buffer_note(run) + _cost_note(run)))  # fmt: skip
    if run.options.dry_run:
        return Content(head, notes, verbatim=clean_text(run.source))
    show_tables = run.options.show in tables_for
    return Content(head, notes, tuple(map(clean_lines, warnings(run))),
                   tuple(tables(run)) if show_tables else ())  # fmt: skip


def folder_note(run: Any) -> list[str]:
    """Where a command has run that was not given the notebook's own folder."""
    note = run.info.get("cwd_note")
    return [str(note)] if note and run.options.command else []


def _planted_note(run: Run) -> list[str]:
    """How the kernel has planted the probe, by its own list."""
    how = run.info.get("mechanism")
    return [f"planted by {how}"] if how else []


def _buffer_note(run: Run) -> list[str]:
    wanted = run.options.buffer
    if ring_size(wanted) == wanted:
        return []
    return [f"--buffer {show_size(wanted)}: the kernel takes powers of two, so it has "
            f"{show_size(ring_size(wanted))}"]  # fmt: skip


def _cost_note(run: Run) -> list[str]:
    """What the handlers take, as the kernel has measured it; not shown where it does not tell."""
    stats, cost, limit = run.stats, run.info.get("cost"), run.options.max_overhead
    if stats.cost is None or not stats.hits or not cost:
        return []
    text = (f"handlers take {show_share(stats.cost)} of one CPU, "
            f"{cost['busy_ns'] / stats.hits / 1000:.3g} µs a hit")  # fmt: skip
    return [text + (f" (--max-overhead {show_share(limit)})" if limit else "")]


def head_line(run: Run) -> str:
    """Return the card's first line: name, state, the sum of hits, where it ran."""
    stats = run.stats
    numbers = [
        f"{stats.rows} {'row' if stats.rows == 1 else 'rows'}",
        f"{sum_text(stats)}; missed {_known(stats.missed)}",
    ]
    where = f" {run.info['backend']} on {run.info['target']} {run.info['kernel_release']}"
    return "  ".join([
        f"■ {run.name}", state_text(run), *([] if run.options.dry_run else numbers), where,
    ])  # fmt: skip


def state_text(run: Any) -> str:
    """Return ``running``, ``stopped (--while)``, ``failed`` …"""
    if run.options.dry_run:
        return "dry run"
    if run.state == "running" or run.stopped_by is None:
        return str(run.state)
    state: str = run.state
    return f"{state} ({AS_TYPED.get(run.stopped_by, run.stopped_by)})"


def sum_text(stats: Stats) -> str:
    """Return where the hits went; with ``=`` only where both sides are equal."""
    parts = [f"{name} {stats[name]}" for name in ("rows", "filtered", "sampled", "dropped")]
    hits = f"hits {stats.hits}"
    text = f"{hits} = {' + '.join(parts)}" if stats.balanced else f"{hits}; {', '.join(parts)}"
    if stats.is_return:
        text += (f"; entries {_known(stats.entries)} = hits {stats.hits} + unpaired "
                 f"{_known(stats.unpaired)} + in flight {_known(stats.in_flight)}")  # fmt: skip
    return text if stats.injected is None else f"{text}; injected {stats.injected}"


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def warnings(run: Run) -> list[str]:
    """Return what the user must not overlook."""
    stats = run.stats
    found = []
    if stats.dropped:
        size = show_size(ring_size(run.options.buffer))
        found.append(f"{grouped(stats.dropped)} rows did not fit into the ring buffer of {size}: "
                     "--buffer makes it larger, --where or --sample the rows fewer")  # fmt: skip
    if stats.missed:
        found.append(f"{grouped(stats.missed)} hits never reached the handler{_why_missed(run)}")
    if stats.unpaired:
        found.append(f"{grouped(stats.unpaired)} calls returned unseen, or had begun before "
                     "the probe")  # fmt: skip
    if run.stopped_by == "target-lost":
        found.append(str(run.lost()))
    elif run.failure is not None or run.error:
        found.append(str(run.failure or run.error))
    return found + quiet_notes(run) + run.remarks


def _why_missed(run: Run) -> str:
    counts = run.info.get("missed_by") or {}
    why = [f"{grouped(counts[reason])} {text}" for reason, text in MISSED.items()
           if counts.get(reason)]  # fmt: skip
    return f": {', '.join(why)}" if why else ""


def as_hex(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Return ``frame`` with its pointers as a kernel developer reads them."""
    pointers = {field.name for layout in run.recording.layouts for field in layout.fields
                if field.type.kind == "pointer"}  # fmt: skip
    shown = {name: frame[name].map(_hex, na_action="ignore")
             for name in frame.columns if name in pointers}  # fmt: skip
    return frame.assign(**shown)


def _hex(value: object) -> object:
    # in the rows of another emit a column of that name may hold text
    return f"{value:#x}" if isinstance(value, (int, np.integer)) else value


def tables(run: Run) -> list[Table]:
    """Return the first rows, and every aggregate."""
    found = []
    if run.recording.rows or not run.artifact.source.aggregates:
        frame = run.recording.head(20)
        if len(frame):
            found.append(of_frame(as_hex(frame, run), run.recording.rows))
    try:
        aggregates = run.aggregates
    except KpmagicError:  # the target is just going away: the warnings say so
        return found
    for label, frame in aggregates.items():
        if "low" in frame.columns and "high" in frame.columns and len(frame):
            found.append(of_histogram(frame, label))
        else:
            found.append(of_frame(frame, len(frame), caption=label))
    return found
