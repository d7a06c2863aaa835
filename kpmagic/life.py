# SPDX-License-Identifier: MIT
"""One life of a run: from ``start`` to its END frame, filled by the reader thread."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from .agent import wire
from .errors import KpmagicError, RecordingError
from .outcome import MapPart, Outcome, Workload
from .rows.recording import Rows
from .stats import cost_of

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AnyLife:
    """What has arrived of one time in the kernel, whatever is in it: until its END frame.

    ``ending`` is called when no more will come; it sets ``ended``, at once or when what there is
    to be done first has been done.
    """

    def __init__(self, number: int, command: str | None) -> None:
        self.number = number
        self.workload = None if command is None else Workload(command)
        self.reason = ""
        self.error = ""
        self.last_words = ""
        self.remarks: list[str] = []
        self.ended = threading.Event()
        self.ending: Callable[[], None] = self.ended.set

    def went(self, outcome: Outcome) -> Self:
        """Take over how it went long ago; return it, ended."""
        self.reason, self.error = outcome.reason, outcome.error
        self.last_words, self.remarks = outcome.last_words, list(outcome.remarks)
        self.workload = None if outcome.workload is None else replace(outcome.workload)
        self.ended.set()
        return self

    def outcome(self) -> Outcome:
        """Return how it went, as a value."""
        workload = None if self.workload is None else replace(self.workload)
        return Outcome(self.reason, self.error, remarks=tuple(self.remarks), workload=workload,
                       last_words=self.last_words)  # fmt: skip

    @property
    def failed(self) -> bool:
        """Whether it went otherwise than it should."""
        return bool(self.error)

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a frame, in the reader's thread. What cannot be understood ends up in ``error``."""
        try:
            self._take(frame)
        except RecordingError as error:
            self.error = self.error or error.message
        except (wire.WireError, KeyError, TypeError, ValueError) as error:
            self.error = self.error or f"{type(error).__name__}: {error}"
        finally:
            if frame.type == wire.END:
                self.reason = self.reason or "error"
                self.ending()

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set() and not self.reason:
            self.reason = "target-lost"
            self.ending()

    def _take(self, frame: wire.Frame) -> None:
        """Take a frame. Raises RecordingError, WireError, KeyError, TypeError, ValueError."""
        raise NotImplementedError

    def _on_log(self, frame: wire.Frame) -> None:
        message = wire.unpack_json(frame.payload)
        self._on_text(str(message["stream"]), str(message["text"]))

    def _on_text(self, stream: str, text: str) -> None:
        """Take what the agent remarks, and what the command writes."""
        if stream == "agent":
            self.remarks.append(text)
        elif self.workload is not None:
            if stream == "stderr":
                self.workload.stderr += text
            else:
                self.workload.stdout += text

    def _on_end(self, message: dict[str, Any]) -> None:
        self.error = self.error or str(message.get("error") or "")
        self.last_words = str(message.get("last_words") or "")
        if self.workload is not None and message.get("workload"):
            self.workload.exit_code = message["workload"].get("exit_code")
        self.reason = str(message["reason"])  # last: whoever sees it may rely on the others


class Lived:
    """What every run says of its newest life, whatever it has put into the kernel."""

    info: dict[str, Any]
    failure: KpmagicError | None
    _life: AnyLife

    @property
    def workload(self) -> Workload | None:
        """The command of ``--while`` with its exit code and output; None without one."""
        return self._life.workload

    @property
    def state(self) -> str:
        """``running``, ``stopped`` or ``failed``."""
        if self.failure is not None or self._life.failed:
            return "failed"
        return "stopped" if self._life.ended.is_set() else "running"

    @property
    def stopped_by(self) -> str | None:
        """What ended it: for, while, max-events, max-time, user, interrupt, target-lost, …"""
        return self._life.reason or None

    @property
    def error(self) -> str:
        """What went wrong while it ran, or ``""``."""
        return self._life.error

    @property
    def remarks(self) -> list[str]:
        """What the agent had to say about this run."""
        return list(self._life.remarks)

    @property
    def age(self) -> float:
        """Seconds since it was put into the kernel."""
        return time.time() - float(self.info.get("started", time.time()))


class Life(AnyLife):
    """What has arrived of one run number of a probe.

    ``stop`` asks for the run's end without waiting for it; ``on_maps`` takes what processes map.
    """

    def __init__(
        self,
        number: int,
        recording: Rows,
        command: str | None,
        stop: Callable[[str], None] | None = None,
        on_maps: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(number, command)
        self.recording = recording
        self.counters: dict[str, int] = {}
        self.losses: list[tuple[int, int, int]] = []
        self._rows_before = 0
        self.missed: int | None = None
        self.in_flight: int | None = None
        self.info: dict[str, Any] = {}  # of the run, where the kernel may have changed its mind
        self.maps: tuple[list[dict[str, Any]], bytes] = ([], b"")
        self._maps_lock = threading.Lock()
        self._stop = stop
        self._on_maps = on_maps

    @classmethod
    def past(cls, recording: Rows, outcome: Outcome, blob: bytes) -> Life:
        """Return the life that went as ``outcome`` says."""
        life = cls(0, recording, None).went(outcome)
        life.missed, life.in_flight = outcome.missed, outcome.in_flight
        life.counters, life.losses = dict(outcome.counters), list(outcome.losses)
        life.maps = ([vars(part) for part in outcome.maps], blob)
        return life

    @property
    def failed(self) -> bool:
        """Whether it ended by an error; one that only its file met leaves it as it is."""
        return self.reason == "error"

    def outcome(self) -> Outcome:
        """Return how it went, as a value."""
        parts = tuple(MapPart(str(each["map"]), int(each["key_size"]), int(each["entries"]))
                      for each in self.maps[0])  # fmt: skip
        return replace(super().outcome(), counters=dict(self.counters), losses=tuple(self.losses),
                       missed=self.missed, in_flight=self.in_flight, maps=parts)  # fmt: skip

    def looked(self, index: list[dict[str, Any]], blob: bytes) -> None:
        """Keep the maps as they were at a look; those of the END frame stay."""
        with self._maps_lock:
            if not self.reason:
                self.maps = (index, blob)

    def _take(self, frame: wire.Frame) -> None:
        try:
            if frame.type == wire.DATA:
                self.recording.feed(frame.payload)
                return
            self._on_message(frame)
            self.recording.keep(frame.type, frame.payload)
        except OSError as error:  # of a recording that goes to a file
            self._on_full(error)

    def _on_message(self, frame: wire.Frame) -> None:
        if frame.type == wire.LOST:
            counters = wire.unpack_json(frame.payload)
            self.missed = counters.pop("missed", self.missed)
            self._on_counters(counters)
        elif frame.type == wire.LOG:
            self._on_log(frame)
        elif frame.type == wire.MAPS and self._on_maps is not None:
            self._on_maps(wire.unpack_json(frame.payload))
        elif frame.type == wire.END:
            self._on_last(*wire.unpack(frame.payload))

    def _on_full(self, error: OSError) -> None:
        """End a run whose rows can no longer be written down; those that were stay."""
        full = error.errno in FULL
        self.error = self.error or (
            f"the recording could not be written any further: {error.strerror or error}"
            + "; the rows until then are kept, those after it are counted as dropped" * full
        )
        if self._stop is not None and not self.reason:
            self._stop("disk-full" if full else "save-failed")

    def _on_counters(self, counters: dict[str, int]) -> None:
        lost = counters.get("dropped", 0) - self.counters.get("dropped", 0)
        if lost > 0:
            self.losses.append((self._rows_before, self.recording.rows, lost))
        self.counters, self._rows_before = counters, self.recording.rows
        cost = cost_of(counters)
        if cost is not None:
            self.info["cost"] = {**vars(cost), "share": cost.share}

    def _on_text(self, stream: str, text: str) -> None:
        if stream == "planted":
            self.info["mechanism"] = text
        else:
            super()._on_text(stream, text)

    def _on_last(self, message: dict[str, Any], blob: bytes) -> None:
        self._on_counters(message["counters"])
        self.remarks += self.recording.remarks()
        self.missed, self.in_flight = message.get("missed"), message.get("in_flight")
        self.info |= {key: message[key] for key in ("mechanism", "missed_by") if message.get(key)}
        with self._maps_lock:
            if message.get("maps"):
                self.maps = (message["maps"], blob)
            self._on_end(message)
