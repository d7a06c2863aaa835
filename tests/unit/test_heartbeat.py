# SPDX-License-Identifier: MIT
"""Silence on either side of the wire."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from far_end import FarEnd, a_run, started

from kpmagic.channel import heartbeat
from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetLost
from kpmagic.targets.lease import Lease
from kpmagic.targets.local import Local
from kpmagic.targets.port import Port

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.02)


class Silent(FarEnd):
    """Answers pings until it is told not to."""

    lease = Lease(lost=10, undo=30)

    def __init__(self) -> None:
        super().__init__({"start": started})
        self.answers["ping"] = self.pong
        self.answers |= dict.fromkeys(("read", "insmod", "run"), lambda *_: None)
        self.speaks = threading.Event()
        self.speaks.set()

    def pong(self, _: object, run: int, message: dict[str, object], blob: bytes) -> None:
        if self.speaks.is_set():
            self.reply(run, message, {})

    def pings(self) -> int:
        return sum(each["do"] == "ping" for each in self.asked)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_agent_that_answers_is_asked_again_and_told_the_lease() -> None:
    end = Silent()
    with Connection(end) as connection:
        until(lambda: end.pings() > 3)
        assert connection.alive
        assert {each["lease_ms"] for each in end.asked} == {30_000}
        assert connection.remark == ""
        assert len(connection._replies) <= 1


def test_a_silent_agent_is_told_and_then_lost_with_its_rows_kept() -> None:
    end = Silent()
    with Connection(end) as connection:
        run = a_run(connection).start()
        end.rows(run._life.number, 1, 2, 3)
        end.speaks.clear()
        until(lambda: run.remarks)
        assert "no word from far for" in run.remarks[0]
        assert run.wait(PATIENCE)
        assert (run.stopped_by, len(run.df())) == ("target-lost", 3)
        assert run.remarks == []
        with pytest.raises(TargetLost, match="far is gone: no word from it for 10 s"):
            connection.read("/x")


def test_one_that_speaks_again_in_time_is_not_lost() -> None:
    end = Silent()
    with Connection(end) as connection:
        end.speaks.clear()
        until(lambda: connection.remark)
        asked = end.asked[-1]
        end.speaks.set()
        end.reply(0, asked, {})
        until(lambda: not connection.remark)
        assert connection.alive


@pytest.mark.parametrize("word", ["read", "insmod"])
def test_work_that_takes_long_is_waited_for_as_long_as_who_asked_waits(word: str) -> None:
    """A module's init, the verifier: the agent's one thread is in the kernel."""
    end = Silent()
    with Connection(end) as connection:
        end.speaks.clear()
        with pytest.raises(TargetLost, match="no word from it for 40 s"):
            connection.request(word, timeout=40.0)


def test_a_command_that_runs_long_excuses_no_silence() -> None:
    end = Silent()
    with Connection(end) as connection:
        connection.ask("run", run=connection.new_number(), command="sleep 1000", patience=1000.0)
        end.speaks.clear()
        until(lambda: not connection.alive)
        assert connection.failure == "no word from it for 10 s"


def test_the_end_of_a_run_with_many_places_in_a_module_is_waited_for() -> None:
    """Nobody has asked for it: the kernel takes them out one by one, in one call of the agent."""
    end = Silent()
    with Connection(end) as connection:
        connection.request("start", run=7, module="kpmagic_0", programs=[{}] * 50)
        assert connection.patience(10) == 15
        end.end(7, "for")
        until(lambda: connection.patience(10) == 10)


def test_an_agent_on_this_machine_whose_end_would_be_seen_is_given_longer() -> None:
    """A module's exit may take its time, and nobody has asked for that either."""
    end = Silent()
    end.lease = Local.lease
    with Connection(end) as connection:
        end.speaks.clear()
        until(lambda: not connection.alive)
        assert connection.failure == "no word from it for 60 s"


class Deaf(Silent):
    """A sandbox whose agent reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        ours, self.theirs = socket.socketpair()
        self.port = Port(ours)
        self.send = self.port.send

    def close(self) -> None:
        self.port.close()
        super().close()


def test_an_agent_that_takes_nothing_is_lost_and_holds_up_nobody() -> None:
    end = Deaf()
    with Connection(end) as connection:
        began = time.monotonic()
        replies = [connection.ask("start", bytes(8 << 20)), connection.ask("read")]
        assert time.monotonic() - began < PATIENCE / 2
        until(lambda: not connection.alive)
        assert connection.failure == "no word from it for 10 s"
        assert not any(each.done.is_set() for each in replies)
    end.theirs.close()


def test_a_target_without_a_lease_is_left_alone() -> None:
    end = FarEnd()
    with Connection(end):
        time.sleep(0.2)
        assert all(each["do"] != "ping" for each in end.asked)
