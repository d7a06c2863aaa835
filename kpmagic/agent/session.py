# SPDX-License-Identifier: MIT
"""One run, from start to END.

    running ──stop──▶ detaching ──all out, or 1 s──▶ draining ──ring empty──▶ ended

The gate is shut the moment a run stops. When no program can write any more, what is still inside
is judged, the probes are taken out, the ring is emptied and END sent. Hundreds of probes leave
for seconds: END does not wait for the last of them, for behind the gate they do nothing.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from kpmagic.agent import code, optimiser
from kpmagic.agent.alarm import Alarm
from kpmagic.agent.arguments import Start
from kpmagic.agent.balance import cut, settle
from kpmagic.agent.channel import Channel
from kpmagic.agent.cost import Cost
from kpmagic.agent.gate import LAST_PROGRAM_SECONDS, wait_for_programs
from kpmagic.agent.kmodprobes import ModuleProbes
from kpmagic.agent.limits import Ends
from kpmagic.agent.mappings import Mappings
from kpmagic.agent.mechanism import Watch, require
from kpmagic.agent.missed import Missed
from kpmagic.agent.planting import make_room
from kpmagic.agent.probes import Probes
from kpmagic.agent.pump import Pump
from kpmagic.agent.refusal import Refused
from kpmagic.agent.ring import RingError
from kpmagic.agent.stillness import Change, keeping_others, misses_changes
from kpmagic.agent.telling import Telling
from kpmagic.agent.workload import Workload

MS = 1_000_000
FAST_MS, BUSY_MS, QUIET_MS = 10, 20, 80
MISSED_NS = 200 * MS
DETACH_SECONDS, DETACH_MS = 1.0, 2
CHANGE_SECONDS = 0.02


class Planted(NamedTuple):
    """Probes that are there already, their command, and the ns that it took."""

    probes: Any
    workload: Workload | None
    took: int


class Session:
    """A run that is attached."""

    def __init__(
        self, channel: Channel, number: int, asked: Start, planted: Planted | None = None
    ) -> None:
        """Load, spawn held back, attach; the gate is still shut. Raises Refused."""
        self.number = number
        self.ended = False
        self.patience_ms = BUSY_MS
        self._channel = channel
        self._telling = Telling(channel, number)
        self._asked = asked
        self._ends = Ends(asked.limits)
        self._state = self._running
        self._reason = ""
        self._error: str | None = None
        self._in_flight = self._unpaired = 0
        self._missed: Missed | None = None
        self._missed_at = 0
        self._workload = None if planted is None else planted.workload
        self._already = planted
        self._leaving: Change | None = None
        self._patient_until = 0.0
        self._mappings = Mappings(channel, number)
        if asked.command is not None and planted is None:
            self._workload = Workload(number, asked.command, asked.cwd)
        try:
            self._plant()
        except BaseException:
            if self._workload is not None:
                self._workload.close()
            raise

    def _plant(self) -> None:
        cgroup = self._workload.cgroup.id if self._workload and self._asked.follow else 0
        make_room(len(self._asked.programs))
        code.remember(self._asked.programs)
        with Change(self._workload):
            self._alarm = Alarm()
        try:
            position = optimiser.position(self._asked.mechanism, bool(self._asked.module))
            if position is not None:
                with Change(self._workload):
                    optimiser.held.hold(self.number, position)
            self._plant_probes(cgroup)
        except BaseException:
            optimiser.held.release(self.number)
            self._alarm.leave().wait()
            raise

    def _plant_probes(self, cgroup: int) -> None:
        began = time.monotonic_ns()
        self._probes = self._load(cgroup)
        loaded = time.monotonic_ns()
        try:
            with Change(self._workload):
                with keeping_others():
                    planted = self._probes.attach()
                self._watch = Watch(self._asked.programs)
                if self._asked.mechanism:
                    require(self._watch, self._asked.mechanism, self._telling.still_here)
                self._cost = Cost(self._probes, self._asked.max_ppm / 1e6)
            if self._asked.mappings:  # last: nothing is refused any more
                self._mappings.watch()
        except BaseException:
            self._probes.close()
            raise
        most = self._asked.config["max_rows"]
        self._pump = Pump(self._channel, self.number, self._probes.ring, most, self._mappings.tell)
        self._ways = planted.get("ways", [])
        self.started = {
            **planted,
            "canary": self._alarm.sings,
            "mechanism": self._watch.mechanism,
            "load_ns": loaded - began if self._already is None else self._already.took,
            "attach_ns": time.monotonic_ns() - loaded,
        }

    def _load(self, cgroup: int) -> Any:
        """Return the probes, with the methods of `Probes`. Raises Refused."""
        if self._already is not None:
            return self._already.probes
        if self._asked.module:
            with Change(self._workload):
                return ModuleProbes(self._asked, cgroup, self.number)
        return Probes(self._asked, cgroup, self._telling.still_here)

    def go(self) -> None:
        """Open the gate and let the command go."""
        self._telling.remark(self._mappings.remark)
        if self._workload is not None:
            self._workload.wait_until_held()
        self._ends.begin()
        self._cost.begin()
        self._probes.begin()
        self._probes.gate.open(self._asked.config["max_rows"])
        if self._workload is not None:
            self._workload.release()

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading."""
        return self._workload.waits_for(room) if self._workload is not None else []

    def step(self, ready: set[int]) -> None:
        """Do what is to be done now; called at least every ``patience_ms``."""
        if self._workload is not None:
            self._telling.output(self._workload, ready)
        try:
            self._state()
        except (RingError, Refused) as error:
            self.fail(error)

    def stop(self, reason: str) -> None:
        """Shut the gate and begin to end. Nothing happens when it is ending already."""
        if self._reason:
            return
        self._reason = reason
        self._state = self._detaching
        self._probes.gate.shut()
        if self._asked.entries:  # soon: who returns behind the shut gate was in flight
            time.sleep(LAST_PROGRAM_SECONDS)
            self._in_flight, self._unpaired = self._probes.leftovers(self._telling.still_here)
        wait_for_programs()
        self._telling.remark(self._cost.end())
        self._missed = self._probes.missed()
        self._watch.look()
        self.kill()
        self._leaving = Change(self._workload)
        self._probes.measure(False)  # now, as nobody runs
        if misses_changes():
            self._begin_detaching()
        self._patient_until = time.monotonic() + DETACH_SECONDS

    def _begin_detaching(self) -> None:
        """Take out the probes, and wait a moment: each begins with a change of code."""
        with keeping_others():
            end = time.monotonic() + CHANGE_SECONDS
            while not self._probes.detach() and time.monotonic() < end:
                time.sleep(DETACH_MS / 1000)

    def kill(self) -> None:
        """Kill the command; the run then ends as if the command had."""
        if self._workload is not None:
            self._workload.kill()

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the aggregates so far. Raises Refused."""
        found: tuple[list[dict[str, Any]], bytes] = self._probes.aggregates()
        self._mappings.tell()
        return found

    def places(self) -> list[dict[str, Any]]:
        """Return where its probes are; the wire's "places"."""
        return code.places(self._asked.programs)

    def _running(self) -> None:
        self._probes.look()
        self._send_rows()
        self._cost.ease()
        if self._telling.counters(self._counters_at):
            self._telling.remark(self._cost.hold())
        became = self._watch.change()
        if became is not None:
            self._telling.log("planted", became)
        self._telling.remark(self._alarm.change(self._watch.mechanism, self._ways))
        reason = self._why_stop()
        if reason:
            self.stop(reason)

    def _why_stop(self) -> str:
        if self._cost.too_high:
            return "max-overhead"
        most = self._asked.config["max_rows"]
        if most and self._probes.gate.rows >= most:
            return "max-events"
        if self._workload is not None and self._workload.exit_code is not None:
            return "while"
        self.patience_ms = self._ends.patience(self.patience_ms)
        return self._ends.reason()

    def _detaching(self) -> None:
        self._send_rows()
        self.patience_ms = min(DETACH_MS, self.patience_ms)
        out = self._probes.detach() & self._alarm.leave().over  # both begin
        if out or time.monotonic() >= self._patient_until:
            self._gone()
            self._state = self._draining

    def _gone(self) -> None:
        if self._leaving is not None:
            self._leaving.over()

    def _draining(self) -> None:
        self._send_rows()
        self.patience_ms = BUSY_MS if self._pump.sending else 0
        if not self._pump.sending and not self._probes.ring.waiting:
            self._finish()

    def _send_rows(self) -> None:
        found = self._pump.run()
        busy = FAST_MS if self._pump.fast else BUSY_MS
        self.patience_ms = busy if found else min(QUIET_MS, 2 * max(1, self.patience_ms))

    def _counters(self) -> dict[str, int]:
        """Return COUNTERS as far as rows have been cut, and what they have cost."""
        counters = cut(self._probes.gate.counters(), self._pump.cut)
        spent = self._cost.now()
        return counters if spent is None else {**counters, **spent._asdict()}

    def _counters_at(self, now: int) -> dict[str, int]:
        """Return them with the wire's "missed", of which the kernel is asked for each probe."""
        if now - self._missed_at >= MISSED_NS * len(self._asked.programs):  # not too often
            self._missed, self._missed_at = self._probes.missed(), now
        missed = {} if self._missed is None else {"missed": sum(self._missed.values())}
        return {**self._counters(), **missed}

    def fail(self, error: Exception) -> None:
        """End a run that cannot go on. Raises OSError; called again it goes on from there."""
        self._error = self._error or str(error)
        self.stop("error")
        if not self._pump.sending:
            self._finish()

    def _finish(self) -> None:
        index, blob = self._probes.aggregates() if self._error is None else ([], b"")
        counters = self._counters()
        in_flight = None
        if self._asked.entries:
            counters, in_flight, remark = settle(counters, self._in_flight, self._unpaired)
            self._telling.remark(remark)
        self._mappings.tell()
        exit_code = self._close_workload()
        end = {
            "reason": self._reason,
            "counters": counters,
            "in_flight": in_flight,
            "missed": None if self._missed is None else sum(self._missed.values()),
            "missed_by": self._missed,
            "mechanism": self._watch.mechanism,
            "workload": None if exit_code is None else {"exit_code": exit_code},
            "error": self._error,
            "maps": index,
        }
        self._telling.end(end, blob)
        self._alarm.leave()
        self._probes.release()
        self._gone()
        self._mappings.close()
        optimiser.held.release(self.number)
        self.ended = True

    def _close_workload(self) -> int | None:
        if self._workload is None:
            return None
        self._telling.output(self._workload, set(self.waits_for(True)))
        self._workload.close()
        return self._workload.exit_code

    def close(self) -> None:
        """Undo everything without another word."""
        self._probes.gate.shut()
        if self._workload is not None:
            self._workload.close()
        self._channel.drop()
        self._alarm.leave().wait()
        with Change(self._workload):
            self._probes.close()
        self._gone()
        self._mappings.close()
        optimiser.held.release(self.number)
