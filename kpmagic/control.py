# SPDX-License-Identifier: MIT
"""Stopping and waiting: the same for every live run, whatever it has put into the kernel."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

from .cell import values
from .errors import CellError, KpmagicError, TargetError, TargetLost

STOP_PATIENCE = 30.0
START_PATIENCE = 60.0
STEP = 0.1


class Living(Protocol):
    """What control needs of one time in the kernel: a life.AnyLife."""

    number: int
    reason: str
    last_words: str
    ended: threading.Event

    def on_lost(self) -> None:
        """No further frame will come."""


class Asked(Protocol):
    """What control needs of a connection."""

    @property
    def hello(self) -> Mapping[str, Any]:
        """What the agent said first."""

    def lost(self) -> TargetLost:
        """Return the error that says this target is gone."""

    def forget(self, number: int) -> None:
        """Drop the frames of run ``number`` from now on."""

    def request(
        self, word: str, blob: bytes = b"", *, run: int = 0, timeout: float | None = 60.0,
        **arguments: Any,
    ) -> tuple[dict[str, Any], bytes]:  # fmt: skip
        """Ask the agent; return the answer and its blob. Raises TargetError."""


class Controlled:
    """A live run that can be stopped and waited for; as a context manager it stops at the end."""

    connection: Asked
    failure: KpmagicError | None
    _life: Living

    @property
    def replayed(self) -> bool:
        """Whether it plays back what was recorded before."""
        return "no_kernel" in self.connection.hello

    def lost(self) -> TargetLost:
        """Return the error that says how its target went."""
        words = self._life.last_words
        return TargetLost(words) if words else self.connection.lost()

    def stop(self, reason: str = "user") -> Self:
        """End it and wait for what was on its way. Harmless when it has ended already.

        Raises TargetError when the target does not end it within 30 s.
        """
        life = self._life
        if not life.ended.is_set():
            try:
                self.connection.request("stop", run=life.number, reason=reason)
            except TargetLost:
                life.on_lost()
            except TargetError:
                if not life.ended.wait(1.0):  # it may have ended by itself meanwhile
                    raise
            if not life.ended.wait(STOP_PATIENCE):
                raise TargetError(
                    f"the run was asked to end {STOP_PATIENCE:.0f} s ago, and has not yet",
                    hint="run.wait() goes on waiting; the run then has its last rows; "
                    "run.connection.close() ends the target with all its runs",
                )
        return self

    def wait(self, timeout: float | str | None = None) -> bool:
        """Wait until it has ended, at most ``timeout`` (s, or ``"5s"``); say whether it has.

        0 looks and does not wait. Raises CellError for what is no time.
        """
        end = None if timeout is None else time.monotonic() + _seconds(timeout)
        # short waits, so that an interrupt is noticed at once on every platform
        while not self._life.ended.is_set():
            if end is not None and time.monotonic() >= end:
                return False
            self._life.ended.wait(STEP)
        return True

    def finish(self) -> Self:
        """Wait until it has ended; an interrupt ends it and keeps the data."""
        try:
            self.wait()
        except KeyboardInterrupt:
            self.stop("interrupt")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _abandon(self, life: Living, error: BaseException) -> None:
        """Leave nothing of a start that failed or was interrupted."""
        if isinstance(error, KpmagicError):
            self.failure = error
        else:
            with contextlib.suppress(TargetError):  # it may not have come so far
                self.connection.request("stop", run=life.number, reason="interrupt")
        life.reason = life.reason or "error"
        self._abandoned()
        life.ended.set()
        self.connection.forget(life.number)

    def _abandoned(self) -> None:
        """Undo what this kind of run had begun besides, before anybody sees that it has ended."""


def _seconds(timeout: float | str) -> float:
    try:
        return values.duration(timeout) / 1e9 if isinstance(timeout, str) else float(timeout)
    except (ValueError, TypeError) as error:
        raise CellError(f"cannot wait {timeout!r}: {error}") from None
