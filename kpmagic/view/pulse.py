# SPDX-License-Identifier: MIT
"""One thread that lets whatever is on display look again, once a second."""

from __future__ import annotations

import threading
import time
from typing import Protocol

INTERVAL = 1.0  # s


class Beats(Protocol):
    """Something on display."""

    def beat(self) -> bool:
        """Show what has changed; say whether to be asked again. Nothing is printed here."""


class Pulse:
    """The thread runs while there is something to look after."""

    def __init__(self) -> None:
        self._beating: list[Beats] = []
        self._lock = threading.Lock()

    def add(self, each: Beats) -> None:
        """Have ``each`` look again from now on."""
        with self._lock:
            self._beating.append(each)
            if len(self._beating) == 1:
                threading.Thread(target=self._run, name="kpmagic pulse", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                beating = list(self._beating)
            over = [each for each in beating if not _beat(each)]
            with self._lock:
                self._beating = [each for each in self._beating if each not in over]
                if not self._beating:
                    return


def _beat(each: Beats) -> bool:
    try:
        return each.beat()
    except Exception:  # one that fails is dropped: the others must not stand still for it
        return False


pulse = Pulse()
