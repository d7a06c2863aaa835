# SPDX-License-Identifier: MIT
"""What one run has in the kernel: object, maps, links; made, read and given back together."""

from __future__ import annotations

import errno
import os
from typing import Any

from kpmagic.agent import wire
from kpmagic.agent.arguments import Start
from kpmagic.agent.cost import Statistics
from kpmagic.agent.departure import Departure
from kpmagic.agent.gate import Gate, gate_size
from kpmagic.agent.hello import possible_cpus
from kpmagic.agent.leftovers import count_in_flight, names_in_stacks
from kpmagic.agent.maps import read_aggregates, read_keys
from kpmagic.agent.missed import Missed, count_missed
from kpmagic.agent.objects import SENTENCE, WALK, Link, Map, Object
from kpmagic.agent.planting import Planting, StillHere, batches
from kpmagic.agent.refusal import Refused
from kpmagic.agent.ring import Ring

CONFIG_MAP, GATE_MAP, RING_MAP = ".rodata.kp", ".data.kp", "kp_ring"


class Probes:
    """A loaded object and its links. Whoever makes one closes it."""

    def __init__(self, asked: Start, cgroup: int, still_here: StillHere = lambda: None) -> None:
        """Load; nothing is planted yet. Raises Refused."""
        self._asked = asked
        self._still_here = still_here
        self._cpus = possible_cpus()
        self._links: list[Link] = []
        self._departure: Departure | None = None
        self._missed_before: Missed | None = None
        self._names: set[bytes] = set()
        self._statistics: Statistics | None = None
        self._object = self._loaded(cgroup)
        try:
            self.gate = Gate(self._object.map(GATE_MAP).fd, self._cpus)
            self.ring = Ring(self._object.map(RING_MAP).fd, asked.buffer, asked.record)
        except BaseException:
            self._object.close()
            raise

    def _loaded(self, cgroup: int) -> Object:
        """Return the object, loaded. Refused by the verifier, it is tried once more for its walk:
        the steps that led there, when they fit into the log."""
        try:
            return self._load(cgroup, SENTENCE)
        except Refused as refused:
            if refused.kind != "verifier" or refused.error["errno"] == errno.E2BIG:
                raise
            first = refused
        try:
            return self._load(cgroup, WALK)
        except Refused as refused:
            raise first if refused.error["errno"] == errno.ENOSPC else refused from None

    def _load(self, cgroup: int, log_level: int) -> Object:
        object_ = Object(self._asked.object)
        try:
            object_.map(CONFIG_MAP).set_first_bytes(config(self._asked, cgroup))
            object_.map(RING_MAP).resize(self._asked.buffer)
            self._check_maps(object_)
            object_.load(log_level)
        except BaseException:
            object_.close()
            raise
        return object_

    def _check_maps(self, object_: Object) -> None:
        """Refuse an object that does not fit, before anything reads beyond its maps."""
        names = [*self._asked.aggregates, *([self._asked.entries] if self._asked.entries else [])]
        for name in names:
            object_.map(name)
        if object_.map(GATE_MAP).value_size < gate_size(self._cpus):
            raise Refused("load", f"section '{GATE_MAP}' is too short for {self._cpus} CPUs")

    def attach(self) -> dict[str, Any]:
        """Plant all programs; return the wire's "attached", "left_out", "ways". Raises Refused."""
        planted = Planting(self._object, self._links, self._still_here)
        for together in batches(self._asked.programs):
            planted.plant(together)
        planted.check()
        if self._asked.entries:  # now, for at the end there is no time for it
            self._names = names_in_stacks(self._asked.programs)
        ways = sorted({each.way for each in self._asked.programs})
        return {"attached": planted.attached, "left_out": planted.left_out, "ways": ways}

    def begin(self) -> None:
        """The gate opens now: what was missed until then is not the run's."""
        self._missed_before = self._missed_so_far()

    def look(self) -> None:
        """Notice what has become of them: these stay as long as this process."""

    def detach(self) -> bool:
        """Begin to take out the probes, or see how far that is: whether all are out."""
        if self._departure is None:
            self._departure = Departure(self._links)
        return self._departure.over

    def missed(self) -> Missed | None:
        """Return the kernel's count of missed hits since `begin`, by reason; None: it has none."""
        now, before = self._missed_so_far(), self._missed_before
        if now is None or before is None:
            return None
        return {reason: count - before[reason] for reason, count in now.items()}

    def spent(self) -> tuple[int, int] | None:
        """Return how often the programs ran, and for how many ns; None: the kernel does not tell.

        Only from the first call on does it count.
        """
        if self._statistics is None:
            self._statistics = Statistics(self._object.program_fds())
        return self._statistics.spent()

    def measure(self, on: bool) -> None:
        """Have the kernel count for `spent`, or not."""
        if self._statistics is not None:
            (self._statistics.go_on if on else self._statistics.close)()

    def _missed_so_far(self) -> Missed | None:
        return count_missed(self._links, self._object.program_fds())

    def leftovers(self, still_here: StillHere) -> tuple[int, int]:
        """Return (calls in flight, returns missed) of what has begun. While attached."""
        if not self._asked.entries:
            return 0, 0
        source = self._object.map(self._asked.entries)
        keys = read_keys(source)
        in_flight = count_in_flight(keys, self._names, still_here)
        return in_flight, len(keys) // source.key_size - in_flight

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the wire's AGGREGATES, index and blob. Raises Refused."""
        maps: list[Map] = [self._object.map(name) for name in self._asked.aggregates]
        return read_aggregates(maps, self._cpus)

    def release(self) -> None:
        """Shut the gate and give everything back to the kernel; probes may still be leaving."""
        self.gate.shut()
        self.detach()
        self.gate.close()
        self.ring.close()
        if self._statistics is not None:
            self._statistics.close()
        self._object.close()

    def close(self) -> None:
        """Release, and return when the probes are out."""
        self.release()
        if self._departure is not None:
            self._departure.wait()


def config(asked: Start, cgroup: int) -> bytes:
    """Return the wire's CONFIG of a run."""
    config = asked.config
    comm = os.fsencode(config["comm"])[:15]
    filtered = cgroup or config["pid"] or config["cpu"] >= 0 or comm
    looked_at = wire.FILTERED * bool(filtered) | wire.SAMPLED * (config["sample"] > 1) \
        | wire.EASED * bool(asked.max_ppm)  # fmt: skip
    return wire.CONFIG.pack(
        cgroup, os.getpid(), config["pid"], config["cpu"], config["sample"], comm, looked_at
    )
