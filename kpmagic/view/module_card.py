# SPDX-License-Identifier: MIT
"""A module's card: its state, what uses it, the kernel's log; as text and as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CellError
from ..modules import oops
from ..modules.kernel_log import LEVELS, records
from .card import AS_TYPED, WITH_TABLES, Card, Content, folder_note
from .clean import clean, clean_lines, clean_text
from .table import ROWS, Table, grouped

if TYPE_CHECKING:
    from ..modules.run import ModuleRun


class ModuleCard(Card):
    """Shows modules; it has no state."""

    def content(self, run: ModuleRun, tables_for: tuple[str, ...] = WITH_TABLES) -> Content:
        """Return what the card of ``run`` says now."""
        return content(run, tables_for)

    def plot(self, run: ModuleRun, kind: str | None, **columns: str) -> Any:
        """Refuse: a log is text. Raises CellError."""
        raise CellError("a module's log is text: there is nothing to plot")

    def flame(self, run: ModuleRun, **chosen: str) -> Any:
        """Refuse: a log holds no stacks. Raises CellError."""
        raise CellError("a module's log holds no stacks")

    def live(self, run: ModuleRun, kind: str | None) -> Any:
        """Refuse: a log is text. Raises CellError."""
        raise CellError("a module's log is text: there is nothing to plot")


MODULE_CARD = ModuleCard()


def content(run: ModuleRun, tables_for: tuple[str, ...]) -> Content:
    """Return what the card of ``run`` says now."""
    said = [run.info["note"], *run.build_warnings, *folder_note(run)]
    notes = tuple(clean(note) for note in said if note)
    if run.options.dry_run:
        return Content(clean(head(run)), notes, verbatim=clean_text(run.source))
    found = [*([str(run.failure)] if run.failure else []), *([run.error] if run.error else [])]
    warnings = tuple(clean_lines(each) for each in found + run.remarks)
    tables = [log_table(run)] if run.options.show in tables_for and run.log.rows else []
    if run.last_words:
        warnings += (clean(f"the kernel died: {oops.why(run.last_words)}"),)
        tables.append(oops_table(run))
    return Content(clean(head(run)), notes, warnings, tuple(tables))


def oops_table(run: ModuleRun) -> Table:
    """Return the frames that the kernel died in, the module's with their lines of the cell."""
    rows = [(each.place, each.module,
             f"{run.module.cell}:{each.line}" if each.line else "",
             clean(run.module.place(each.line - run.module.body_line + 1).text.strip())
             if each.line else "")
            for each in run.oops()[:ROWS]]  # fmt: skip
    return Table(("frame", "module", "line", ""), tuple(rows), (False, False, False, False))


def head(run: ModuleRun) -> str:
    """Return the card's first line."""
    lines = run.log.rows
    parts = [f"■ {run.name}", state_text(run)]
    if not run.options.dry_run:
        parts.append(f"{lines} {'line' if lines == 1 else 'lines'} of the kernel's log")
    if run.state == "running":
        parts.append(f"{grouped(run.info.get('size', 0))} bytes")
    return "  ".join([*parts, f" module on {run.info['target']} {run.info['kernel_release']}"])


def state_text(run: ModuleRun) -> str:
    """Return ``loaded``, ``removed (--while)``, ``failed`` …"""
    if run.options.dry_run:
        return "dry run"
    if run.state != "stopped":
        return {"running": "loaded"}.get(run.state, run.state)
    if run.stopped_by is None:
        return "not loaded"
    return f"removed ({AS_TYPED.get(run.stopped_by, run.stopped_by)})"


def log_table(run: ModuleRun) -> Table:
    """Return the last lines of the log: time since the first in s, level, text."""
    lines = records(run.log)
    first = lines[0].time
    shown = lines[-ROWS:]
    rows = [(f"{(each.time - first) / 1e9:.6f}", LEVELS[each.level], clean(each.text))
            for each in shown]  # fmt: skip
    footer = f"the last {len(shown)} of {grouped(len(lines))} lines"
    return Table(("s", "level", "text"), tuple(rows), (True, False, False),
                 footer=footer if len(lines) > len(shown) else "")  # fmt: skip
