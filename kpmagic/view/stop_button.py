# SPDX-License-Identifier: MIT
"""A Stop button above a card, where a front end can press it."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from typing import Any, Protocol

from IPython import display as ipython

from ..errors import KpmagicError

EMPTY = {"text/plain": ""}
HINT = "interrupting the kernel (■ in the toolbar) stops early, and keeps the rows"


class Stoppable(Protocol):
    """A run, of a probe or of a module."""

    @property
    def state(self) -> str:
        """``running``, ``stopped`` or ``failed``."""

    def stop(self) -> Any:
        """End it."""


def available() -> bool:
    """Whether ipywidgets is installed; importing it waits until there is a button."""
    return importlib.util.find_spec("ipywidgets") is not None


class StopButton:
    """One output, empty but while ``run`` runs."""

    def __init__(self) -> None:
        show: Any = ipython.display
        self._handle: Any = show(EMPTY, raw=True, display_id=True)
        self._button: Any = None
        self._hint = False
        self._run: Stoppable | None = None

    def hint(self) -> None:
        """Say how to stop a run that the cell waits for: no button reaches a busy kernel."""
        if self._hint:
            return
        self._hint = True
        html = f"<span style='opacity:.75'>{HINT}</span>"
        self._handle.update({"text/plain": HINT, "text/html": html}, raw=True)

    def show(self, run: Stoppable) -> None:
        """Offer to stop ``run``."""
        if self._button is not None or self._hint:
            return
        from ipywidgets import Button

        self._run = run
        self._button = Button(description="Stop", icon="stop", tooltip="end this probe")
        self._button.on_click(self._pressed)
        data = self._button._repr_mimebundle_() | EMPTY
        self._handle.update(data, raw=True)

    def hide(self) -> None:
        """Take the button away; may be called twice."""
        if self._button is not None or self._hint:
            self._handle.update(EMPTY, raw=True)
            self._hint = False
        if self._button is not None:
            self._button.close()
            self._button = self._run = None

    def _pressed(self, button: Any) -> None:
        # the front end waits for this to return, and stopping waits for the last rows
        button.disabled = True
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        run = self._run  # it may be ending just now
        with contextlib.suppress(KpmagicError):  # a lost target has ended the run: the card says so
            if run is not None:
                run.stop()
