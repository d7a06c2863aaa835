# SPDX-License-Identifier: MIT
"""Watches, while a run is on, whether probes still fire, and says when they stop and go on."""

from __future__ import annotations

import time

from kpmagic.agent.canary import Canary
from kpmagic.agent.departure import Departure
from kpmagic.agent.refusal import Refused
from kpmagic.agent.switches import FTRACE, KPROBES, Switch, check_switches, switched_off

LOOK_SECONDS = 1.0
SILENT = (
    "probes can be planted on this machine, but do not fire: kprobes or ftrace may be switched "
    f"off, see {KPROBES.path} and {FTRACE.path}"
)


class Alarm:
    """One for a run: made before its probes are planted, left when they are taken out."""

    def __init__(self) -> None:
        """Plant the canary. Raises Refused when it could be planted and is not hit."""
        check_switches()
        self._canary = Canary()
        self._departure: Departure | None = None
        self._next = time.monotonic() + LOOK_SECONDS
        self._silent = False
        self.sings = self._canary.sings()
        if self.sings is False:
            self.leave().wait()
            check_switches()
            raise Refused("attach", SILENT)

    def change(self, mechanism: str | None, ways: list[str]) -> str:
        """Return what there is to say since the last look, ``""`` for nothing.

        ``mechanism`` and ``ways`` say how the run's own probes are planted.
        """
        now = time.monotonic()
        if now < self._next or self._departure is not None or self.sings is None:
            return ""
        self._next = now + LOOK_SECONDS
        off = [each for each in switched_off() if _concerns(each, mechanism, ways)]
        silent = bool(off) or (not self._canary.sings() and not any(switched_off()))
        if silent == self._silent:
            return ""
        self._silent = silent
        clock = time.strftime("%H:%M:%S UTC", time.gmtime())
        if not silent:
            return f"at {clock} probes fire again; calls until then are in no count"
        why = " and ".join(f"{each.name} switched off (on again: {each.remedy})" for each in off)
        return f"since {clock} the probe is not hit: {why or 'nothing says why'}"

    def leave(self) -> Departure:
        """Begin to take the canary out, or see how far that is."""
        if self._departure is None:
            self._departure = Departure([self._canary])
        return self._departure


def _concerns(switch: Switch, mechanism: str | None, ways: list[str]) -> bool:
    """Whether the switch silences a run's probes.

    Those that are planted together are no kprobes; an int3 or a jump does without ftrace.
    """
    if switch == KPROBES:
        return not ways or any(not way.endswith(".multi") for way in ways)
    return switch == FTRACE and (mechanism is None or "ftrace" in mechanism)
