# SPDX-License-Identifier: MIT
"""What a run says beside its rows, and how often."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kpmagic.agent import telling, wire
from kpmagic.agent.telling import Telling


class Sent:
    """A channel that keeps what goes through it."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, Any]] = []

    def send(self, type_: int, run: int, payload: bytes) -> None:
        self.frames.append((type_, run, json.loads(payload)))

    def flush(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [10**12]
    monkeypatch.setattr(telling.time, "monotonic_ns", lambda: now[0])
    return now


def test_counters_are_told_when_they_have_changed_and_not_too_often(clock: list[int]) -> None:
    sent: Any = Sent()
    told = Telling(sent, 7)
    hits = dict.fromkeys(wire.COUNTERS, 0)
    assert told.counters(lambda now: {**hits, "hits": 5, "elapsed_ns": now})
    assert not told.counters(lambda _: pytest.fail("looked at too soon"))
    clock[0] += telling.COUNTERS_NS
    assert told.counters(lambda now: {**hits, "hits": 5, "elapsed_ns": now})  # time alone passed
    clock[0] += telling.COUNTERS_NS
    assert told.counters(lambda now: {**hits, "hits": 6, "elapsed_ns": now})
    assert [(type_, run, each["hits"]) for type_, run, each in sent.frames] == [
        (wire.LOST, 7, 5), (wire.LOST, 7, 6),
    ]  # fmt: skip


def test_a_long_start_is_told_once_a_second(clock: list[int]) -> None:
    sent: Any = Sent()
    told = Telling(sent, 7)
    for _ in range(25):
        told.still_here()
        clock[0] += telling.SIGN_NS // 10
    assert [each["hits"] for _, _, each in sent.frames] == [0] * 3


def test_a_long_end_is_told_with_what_was_told_last(clock: list[int]) -> None:
    sent: Any = Sent()
    told = Telling(sent, 7)
    clock[0] += telling.SIGN_NS
    assert told.counters(lambda _: {**dict.fromkeys(wire.COUNTERS, 0), "hits": 5})
    for _ in range(3):
        clock[0] += telling.SIGN_NS
        told.still_here()
    assert [each["hits"] for _, _, each in sent.frames] == [5] * 4


def test_nothing_is_no_remark() -> None:
    sent: Any = Sent()
    told = Telling(sent, 7)
    told.remark("")
    told.remark("beware")
    assert sent.frames == [(wire.LOG, 7, {"stream": "agent", "text": "beware"})]
