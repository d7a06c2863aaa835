# SPDX-License-Identifier: MIT
"""``run.live``: a plot that follows its run, with a Stop button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..run import Run
from .panel import ProbePanel
from .picture import bundle

if TYPE_CHECKING:
    from ipywidgets import Widget

EVERY = 2  # beats of the pulse: a figure is some 50 kB


class LivePlot(ProbePanel):
    """The row of one run and its plot of ``kind``, until the run has ended."""

    def __init__(self, run: Run, kind: str | None) -> None:
        super().__init__(lambda: [run])
        self.run = run
        self.kind = kind
        self._beats = 0
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
        """Show the row every time, the plot every second time and at the end."""
        self._beats += 1
        if hasattr(self, "_both") and (self._beats % EVERY == 0 or self.run.state != "running"):
            self._draw()
        return super().beat()

    def _draw(self) -> None:
        now = (self.run.stats, self.run.state)
        if now != self._drawn:
            self._drawn = now
            shown: dict[str, Any] = {"output_type": "display_data", "metadata": {},
                                     "data": bundle(self.run, self.kind)}  # fmt: skip
            self._output.outputs = (shown,)
