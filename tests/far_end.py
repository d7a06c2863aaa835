# SPDX-License-Identifier: MIT
"""A target whose agent is a script: what the notebook's end does with what it hears."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from records import record, site

from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.model import Artifact, Options, Plan, Probe, Source
from kpmagic.model import Program as BpfProgram
from kpmagic.record import HEADER_SIZE, Aggregate, CType, Field, Layout
from kpmagic.run import Run

HELLO = {
    "protocol": wire.PROTOCOL, "release": "6.1.0-test", "machine": "x86_64", "cpus": 1, "pid": 7,
    "boot_id": "b", "libbpf": "1.1.2", "realtime_minus_monotonic": 1000,
}  # fmt: skip
ROW = Layout(0, (Field("n", CType("int", 8), HEADER_SIZE),))
SIZE = HEADER_SIZE + 8
Answer = Callable[["FarEnd", int, dict[str, Any], bytes], None]


class FarEnd:
    """Channel and target in one. ``answers`` maps a word to what is done about it."""

    name = "far"

    def __init__(self, answers: dict[str, Answer] | None = None, piece: int = 1 << 20) -> None:
        self.answers = {"ping": lambda end, run, message, _: end.reply(run, message, {})}
        self.answers |= answers or {}
        self.asked: list[dict[str, Any]] = []
        self.piece = piece
        self.words = ""
        self.closed = 0
        self.ended = False
        self._bytes: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = wire.Reader()
        self.say(wire.HELLO, 0, wire.pack_json(HELLO))

    # the target

    @property
    def alive(self) -> bool:
        return not self.ended

    def open_agent(self) -> FarEnd:
        return self

    def kernel_btf(self) -> None:
        return None

    def last_words(self) -> str:
        return self.words

    # the channel

    def send(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            message, blob = wire.unpack(frame.payload)
            self.asked.append(message | {"run": frame.run, "blob": blob})
            self.answers[message["do"]](self, frame.run, message, blob)

    def receive(self) -> bytes:
        return self._bytes.get()

    def close(self) -> None:
        self.closed += 1
        self.hang_up()

    # the script's words

    def say(self, type_: int, run: int, payload: bytes) -> None:
        data = wire.encode(type_, run, payload)
        for at in range(0, len(data), self.piece):
            self._bytes.put(data[at : at + self.piece])

    def reply(self, run: int, asked: dict[str, Any], ok: Any, blob: bytes = b"") -> None:
        self.say(wire.REPLY, run, wire.pack({"id": asked["id"], "ok": ok}, blob))

    def refuse(self, run: int, asked: dict[str, Any], /, **error: Any) -> None:
        self.say(wire.REPLY, run, wire.pack({"id": asked["id"], "error": error}))

    def rows(self, run: int, *numbers: int) -> None:
        self.say(wire.DATA, run, b"".join(record(ROW, {"n": n}, size=SIZE) for n in numbers))

    def counters(self, run: int, **counters: int) -> None:
        self.say(wire.LOST, run, wire.pack_json(dict.fromkeys(wire.COUNTERS, 0) | counters))

    def end(self, run: int, reason: str, blob: bytes = b"", **more: Any) -> None:
        message = {"reason": reason, "counters": {}, "in_flight": None, "missed": None,
                   "workload": None, "error": None}  # fmt: skip
        self.say(wire.END, run, wire.pack(message | more, blob))

    def hang_up(self) -> None:
        self.ended = True
        self._bytes.put(b"")


def started(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    """Answer ``start`` as if all had gone well."""
    end.reply(run, message, {"attached": [], "load_ns": 1, "attach_ns": 2})


def stopped(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    """Answer ``stop``, and end the run."""
    end.reply(run, message, {})
    end.end(run, message["reason"])


def a_run(
    connection: Connection,
    *,
    kind: str = "kprobe",
    aggregates: tuple[Aggregate, ...] = (),
    note: str = "",
    view: Any = None,
    symbol: str = "vfs_read",
    **options: Any,
) -> Run:
    """A run of a probe that nobody compiled."""
    place = site(symbol)
    place = type(place)(**(vars(place) | {"note": note}))
    probe = Probe(kind, (place.spec,), "emit(n);", Options(**options))  # type: ignore[arg-type]
    plan = Plan(probe, (place,), "6.1.0-test", "build", 1)
    source = Source({"handler.bpf.c": "int kp_0;"}, "handler.bpf.c", (ROW,), SIZE, aggregates,
                    (BpfProgram("kp_0", symbol),))  # fmt: skip
    return Run(connection, plan, Artifact(source, b"ELF", "clang 19", 0.1, "digest"), view)
