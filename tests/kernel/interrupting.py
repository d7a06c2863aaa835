# SPDX-License-Identifier: MIT
"""An interrupt as a user's: it comes when a cell's run is seen to go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.interactiveshell import InteractiveShell

PATIENCE = 120.0


@contextmanager
def interrupt_with_rows(cell: InteractiveShell, name: str) -> Iterator[None]:
    """Interrupt what the block runs, once the run bound to ``name`` has rows."""
    cell.user_ns.pop(name, None)

    def when_it_has() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            run = cell.user_ns.get(name)
            if run is not None and run.state == "running" and run.stats.rows:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=when_it_has)
    thread.start()
    yield
    thread.join()
