# SPDX-License-Identifier: MIT
"""A plot as an output of a cell that follows its run."""

from __future__ import annotations

import json
import time
from typing import Any

from IPython import display as ipython

from ..errors import KpmagicError
from ..run import Run
from .card import CARD, Card

PLOTLY = "application/vnd.plotly.v1+json"
INTERVAL = 2.0  # s; a figure is some 50 kB
SHARE = 10  # times as long as a plot took, nothing is plotted
ALWAYS = ("table", "plot", "none")  # of --show
HEIGHT = 450  # px; what plotly takes when a figure does not say


class Picture:
    """The plot that suits a run, in one output; made in the cell's thread, then by anyone."""

    def __init__(self, kind: str | None = None) -> None:
        self.kind = kind
        self._handle: Any = None
        self._next = 0.0

    def show(self, run: Run) -> None:
        """Show the plot as it is now, unless the last one is too young and others will come."""
        now = time.monotonic()
        if now < self._next and run.state == "running":
            return
        data = bundle(run, self.kind)
        # a plot of millions of rows takes its time, of which cells get the larger part
        self._next = now + max(INTERVAL, SHARE * (time.monotonic() - now))
        if self._handle is None:
            show: Any = ipython.display
            self._handle = show(data, raw=True, display_id=True)
        else:
            self._replace(data)

    def _replace(self, data: dict[str, Any]) -> None:
        # plotly's renderer in JupyterLab keeps the first figure of an output as long as the
        # output's type does not change; the room is kept so that the page does not jump
        height = data.get(PLOTLY, {}).get("layout", {}).get("height", HEIGHT)
        blank = {"text/plain": "", "text/html": f"<div style='height:{int(height)}px'></div>"}
        self._handle.update(blank, raw=True)
        self._handle.update(data, raw=True)


def show_figure(figure: Any, text: str) -> None:
    """Show a plotly Figure once; ``text`` for a front end that has no plotly."""
    show: Any = ipython.display
    show({PLOTLY: json.loads(figure.to_json()), "text/plain": text}, raw=True)


def bundle(run: Any, kind: str | None = None, card: Card = CARD) -> dict[str, Any]:
    """Return a plot as a notebook wants it; the card's tables where there is no plotly."""
    try:
        figure = card.plot(run, kind)
    except KpmagicError:  # nothing to plot yet: the card says why
        return {"text/plain": ""}
    return {
        PLOTLY: json.loads(figure.to_json()),
        "text/html": "".join(table.html() for table in card.content(run, ALWAYS).tables),
        "text/plain": f"a plot of {run.name}",
    }
