# SPDX-License-Identifier: MIT
"""Lets a system call take only so long."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Interrupt the system calls of the block by signals, from ``seconds`` on and again and again.

    The verifier looks for signals and gives up with EAGAIN (kernel/bpf/verifier.c, do_check);
    libbpf then tries again, so that one signal is not enough. Main thread only.
    """
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
