# SPDX-License-Identifier: MIT
"""One output of a cell that shows progress, then a run's card, and keeps it up to date."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from IPython import display as ipython

from ..modules.run import ModuleRun
from ..peers.run import PeerRun
from ..run import Run
from . import stop_button
from .card import CARD
from .clean import clean, escape
from .picture import Picture
from .pulse import pulse

AnyRun = Run | ModuleRun | PeerRun
INTERVAL = 0.25  # s; at most four updates a second


class Panel:
    """Shows what a cell is doing.

    ``updates`` is False where an output cannot be changed once it is shown (a terminal).
    ``quiet`` shows progress only, and takes it away again. ``buttons``: somebody could press one.
    """

    def __init__(self, *, updates: bool, quiet: bool = False, buttons: bool = False) -> None:
        self.updates = updates
        self.quiet = quiet
        self.buttons = buttons and updates and not quiet and stop_button.available()
        self._button: stop_button.StopButton | None = None
        self._handle: Any = None
        self._shown: object = None
        self._picture: Picture | None = None
        self._waits = False

    def say(self, text: str) -> None:
        """Show one line of progress."""
        if self.updates:
            grey = f"<span style='opacity:.75'>{escape(text)} …</span>"
            self._put({"text/plain": f"{clean(text)} …", "text/html": grey})
        else:
            print(f"{clean(text)} …")

    def card(self, run: AnyRun) -> None:
        """Show the card as it is now."""
        self._shown = _state(run)
        if not self.quiet:
            self._put(bundle(run, pictured=self._pictured(run)))
            self._offer_to_stop(run)
            self._plot(run)

    def _offer_to_stop(self, run: stop_button.Stoppable) -> None:
        if self._button is None:
            return
        if run.state != "running":
            self._button.hide()
        elif self._waits:
            self._button.hint()
        else:
            self._button.show(run)

    def _pictured(self, run: AnyRun) -> bool:
        """Whether a plot stands below the card."""
        chosen = isinstance(run, Run) and run.options.show == "plot"
        return chosen and self.updates and not run.options.dry_run

    def _plot(self, run: AnyRun) -> None:
        if isinstance(run, Run) and self._pictured(run):
            if self._picture is None:
                self._picture = Picture()
            self._picture.show(run)

    def done(self) -> None:
        """Take progress away where nothing comes after it."""
        if self._handle is not None and (self.quiet or self._shown is None):
            self._put({"text/plain": ""})

    def watch(self, run: AnyRun) -> None:
        """Wait for the run's end and keep the card up to date; an interrupt ends the run."""
        try:
            if self.updates:
                self._waits = True
                self.card(run)
                while not run.wait(self._pause()):
                    self._refresh(run)
            else:
                run.wait()
        except KeyboardInterrupt:
            run.stop("interrupt")
        self._over(run)

    def follow(self, run: AnyRun) -> None:
        """Show the card and return; a thread keeps it up to date until the run has ended."""
        self.card(run)
        if self.updates and not self.quiet:
            threading.Thread(target=self._follow, args=(run,), daemon=True).start()

    def _follow(self, run: AnyRun) -> None:
        # updating a display that has an id reaches the cell it stands in, whatever runs meanwhile
        while not run.wait(self._pause()):
            self._refresh(run)
        self._over(run)

    def _over(self, run: AnyRun) -> None:
        self._waits = False
        self.card(run)
        if self.updates and not self.quiet:
            pulse.add(Again(self, run))

    def _pause(self) -> float:
        # a picture has messages of its own
        return INTERVAL if self._picture is None else 2 * INTERVAL

    def _refresh(self, run: AnyRun) -> None:
        if self._shown != _state(run):
            self.card(run)

    def _put(self, data: dict[str, str]) -> None:
        if self._handle is None:
            if self.buttons:
                self._button = stop_button.StopButton()
            show: Any = ipython.display
            self._handle = show(data, raw=True, display_id=self.updates or None)
        else:
            self._handle.update(data, raw=True)


class Again:
    """Has ``panel`` follow a run that has ended, if it is started again; keeps no run alive."""

    def __init__(self, panel: Panel, run: AnyRun) -> None:
        self._panel = panel
        self._run = weakref.ref(run)

    def beat(self) -> bool:
        """Look whether it runs."""
        run = self._run()
        if run is not None and run.state == "running":
            self._panel.follow(run)
            return False
        return run is not None


def _state(run: AnyRun) -> tuple[object, ...]:
    return (run.state, run.stats, run.age > 3.0)


def bundle(run: AnyRun, *, pictured: bool = False) -> dict[str, str]:
    """Return the card as a notebook wants it; ``pictured``: a plot below it stands for tables."""
    page = CARD.html(run, ("table",)) if pictured else run._repr_html_() or ""
    return {"text/plain": repr(run), "text/html": page}


def show(run: AnyRun) -> None:
    """Show the card once."""
    put: Any = ipython.display
    put(bundle(run), raw=True)


def show_value(value: Any) -> None:
    """Show what has a text and an HTML form, once."""
    put: Any = ipython.display
    put({"text/plain": repr(value), "text/html": value._repr_html_()}, raw=True)
