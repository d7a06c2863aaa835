# SPDX-License-Identifier: MIT
"""``run.live``: a plot that follows its run, with a Stop button."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .card import CARD, Card
from .panel import ProbePanel
from .picture import INTERVAL, SHARE, bundle

if TYPE_CHECKING:
    from ipywidgets import Widget


class LivePlot(ProbePanel):
    """The row of one run and its plot of ``kind`` by its ``card``, until the run has ended."""

    def __init__(self, run: Any, kind: str | None, card: Card = CARD) -> None:
        super().__init__(lambda: [run])
        self.run = run
        self.kind = kind
        self.card = card
        self._next = 0.0
        self._drawn: object = None

    def widget(self) -> Widget:
        """Return the ipywidget."""
        if self._widget is None:
            from ipywidgets import Output, VBox

            self._output = Output()
            rows = super().widget()
            self._both = VBox([rows, self._output])
            self._draw()
        return self._both

    def beat(self) -> bool:
        """Show the row every time, the plot less often and at the end."""
        over = self.run.state != "running"
        if hasattr(self, "_both") and (over or time.monotonic() >= self._next):
            self._draw()
        return super().beat()

    def _draw(self) -> None:
        before, now = time.monotonic(), (self.run.stats, self.run.state)
        if now != self._drawn:
            self._drawn = now
            shown: dict[str, Any] = {"output_type": "display_data", "metadata": {},
                                     "data": bundle(self.run, self.kind, self.card)}  # fmt: skip
            self._output.outputs = (shown,)
            self._next = before + max(INTERVAL, SHARE * (time.monotonic() - before))
