# SPDX-License-Identifier: MIT
"""Probes with their buttons, as a widget; as text where there are no widgets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .card import STYLE
from .clean import escape
from .front_end import nobody_looks
from .panel_rows import HEADERS, RIGHT, Row, row, table
from .pulse import pulse
from .stop_button import available

if TYPE_CHECKING:
    from ipywidgets import Widget

LINE = 30  # px: the height of a row and of its buttons
WIDE = {"width": "76px", "height": f"{LINE - 2}px", "margin": "1px 2px"}


class ProbePanel:
    """A row for each of ``runs`` with Start, Stop and Remove.

    The buttons only begin what they are for: a thread does it, and what goes wrong stands in the
    panel. All panels show the runs as they are, so two of them agree.
    """

    def __init__(
        self, runs: Callable[[], list[Any]], remove: Callable[[Any], None] | None = None
    ) -> None:
        self.runs = runs
        self.remove = remove
        self.message = ""
        self._widget: Any = None
        self._shown: tuple[Any, ...] = ()
        self._buttons: dict[int, list[Any]] = {}
        self._lock = threading.RLock()

    def text(self) -> str:
        """Return what it shows, without a widget."""
        rows = [row(run) for run in self.runs()]
        return table(rows).text() if rows else "no probe yet"

    __repr__ = text

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        if not available() or nobody_looks():
            return {"text/plain": self.text()}
        bundle: dict[str, Any] = self.widget()._repr_mimebundle_()
        return bundle | {"text/plain": self.text()}

    def widget(self) -> Widget:
        """Return the ipywidget, which is made and kept up to date from the first call on."""
        if self._widget is None:
            from ipywidgets import HTML, HBox, VBox

            self._table, self._message = HTML(), HTML()
            self._space = HTML(layout={"height": f"{LINE}px", "margin": "0"})
            self._column = VBox()
            self._widget = VBox([*self.above(), HBox([self._table, self._column]), self._message])
            self.beat()
            pulse.add(self)
        return self._widget

    def above(self) -> list[Widget]:
        """Return what stands above the rows."""
        return []

    def beat(self) -> bool:
        """Show what has changed since the last time."""
        if self._widget.comm is None:  # closed
            return False
        with self._lock:
            self._refresh(self.runs())
        return True

    def _refresh(self, runs: list[Any]) -> None:
        rows = [row(run) for run in runs]
        state = (*rows, self.message)
        if state != self._shown:
            self._shown = state
            self._table.value = html(rows)
            self._message.value = f"<pre>{_lines(self.message)}</pre>" if self.message else ""
            self._column.children = [self._space, *map(self._line, runs, rows)]
            for gone in self._buttons.keys() - set(map(id, runs)):
                self._buttons.pop(gone)[0].close()

    def _line(self, run: Any, shown: Row) -> Widget:
        """Return the buttons of a run, the same as long as there is the run."""
        line, start, stop = self._buttons.get(id(run)) or self._new_line(run)
        start.disabled, stop.disabled = shown.running, not shown.running
        return line

    def _new_line(self, run: Any) -> list[Any]:
        from ipywidgets import Button, HBox

        start, stop = Button(description="Start", layout=WIDE), Button(description="Stop",
                                                                       layout=WIDE)  # fmt: skip
        start.on_click(lambda _: self.do(run.start))
        stop.on_click(lambda _: self.do(run.stop))
        buttons = [start, stop]
        if self.remove is not None:
            forget = self.remove
            remove = Button(description="Remove", layout=WIDE)
            remove.on_click(lambda _: self.do(lambda: forget(run)))
            buttons.append(remove)
        line = HBox(buttons, layout={"height": f"{LINE}px", "overflow": "hidden"})
        self._buttons[id(run)] = [line, start, stop]
        return self._buttons[id(run)]

    def do(self, action: Callable[[], object], saying: str = "") -> None:
        """Begin ``action`` in a thread; its error becomes the panel's message."""
        self.message = saying
        threading.Thread(target=self._do, args=(action,), daemon=True).start()

    def _do(self, action: Callable[[], object]) -> None:
        try:
            action()
            self.message = ""
        except Exception as error:  # of a thread nobody would see it but in some later cell
            self.message = f"{type(error).__name__}: {error}"
        if self._widget is not None:
            self.beat()


def as_widget(panel: ProbePanel) -> Any:
    """Return a panel as an ipywidget; itself, which is text, without widgets or a reader."""
    if not available() or nobody_looks():
        return panel
    from .panel_widget import PanelWidget

    return PanelWidget(panel)


def _lines(text: str) -> str:
    return "\n".join(map(escape, text.splitlines()))


def html(rows: list[Row]) -> str:
    """Return the rows as HTML, each as high as its buttons."""
    style = f"height:{LINE}px;white-space:nowrap"
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADERS)
    lines = "".join(f"<tr style='{style}'>{_cells(each)}</tr>" for each in rows)
    empty = "" if rows else "<div class='kp-note'>no probe yet</div>"
    return (f"<div class='kp-card'>{STYLE}<table style='margin:0'><thead><tr style='{style}'>"
            f"{head}</tr></thead><tbody>{lines}</tbody></table>{empty}</div>")  # fmt: skip


def _cells(shown: Row) -> str:
    return "".join(
        f"<td class='kp-n'>{escape(cell)}</td>" if right else f"<td>{escape(cell)}</td>"
        for cell, right in zip(shown.cells, RIGHT, strict=True)
    )
