# SPDX-License-Identifier: MIT
"""What one run has in the kernel when its probes are a module: bpf/frame.kmod.h is the other end.

It has the methods of `probes.Probes`, for a run does not care which of the two it is.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import time
from typing import Any

from kpmagic.agent import kmod, sweep, wire
from kpmagic.agent.arguments import Start
from kpmagic.agent.gate import Gate
from kpmagic.agent.hello import possible_cpus
from kpmagic.agent.kmsg import Kmsg
from kpmagic.agent.mechanism import of_programs
from kpmagic.agent.missed import Missed
from kpmagic.agent.planting import StillHere
from kpmagic.agent.probes import config
from kpmagic.agent.refusal import Refused
from kpmagic.agent.ring import Ring
from kpmagic.agent.tables import merge

GATE_OFFSET = 1 << 30
TABLE_OFFSET = 1 << 31
CONFIGURE = 1 << 30 | wire.CONFIG.size << 16 | ord("k") << 8 | 1
DETACH = ord("k") << 8 | 2
OPEN_SECONDS = 1.0  # in which devtmpfs has made the device
REMOVE_SECONDS = 2.0
SLOTS = 16384


class ModuleProbes:
    """A loaded module with its probes. Whoever makes one closes it."""

    def __init__(self, asked: Start, cgroup: int, number: int) -> None:
        """Load, which plants the probes; the gate is shut. Raises Refused."""
        self._asked = asked
        self._cpus = possible_cpus()
        self._rooms = 1 << (self._cpus - 1).bit_length()  # KP_CPUS of the module
        self._attached = True
        self._missed_before = 0
        self._places = 1 + max(program.cookie for program in asked.programs)
        # beside others of this and of other agents, under a name as long as the one built in
        self._name = f"kpmagic_{os.getpid() & 0xFFFF:04x}{number & 0xFFFF:04x}"
        self._log = Kmsg()
        try:
            self._insert()
            self._fd = self._open()
        finally:
            self._log.close()
        try:
            fcntl.ioctl(self._fd, CONFIGURE, config(asked, cgroup))
            self.gate = Gate(self._fd, self._rooms, GATE_OFFSET)
            self.ring = Ring(self._fd, asked.buffer, asked.record)
        except BaseException:
            os.close(self._fd)
            self._remove()
            raise

    def _insert(self) -> None:
        image = self._asked.object.replace(self._asked.module.encode(), self._name.encode())
        exact = [0] * self._places
        for each in self._asked.programs:
            if each.exact or not each.symbol:
                exact[each.cookie] = each.address or 0  # its offset is in it
        parameters = f"buffer={self._asked.buffer}"
        for name, value in (self._asked.injection or {}).items():
            parameters += f" {name}={value}"
        if any(exact):
            parameters += " addresses=" + ",".join(map(str, exact))
        sweep.note_module(self._name)
        try:
            kmod.insert(image, parameters)
        except OSError as error:
            sweep.forget_module(self._name)
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> Refused:
        """The module's init returns what register_kprobe() did."""
        said = [line.partition(";")[2] for line in self._log.read()]
        if error.errno in (errno.EPERM, errno.EEXIST, errno.ENOEXEC, errno.EKEYREJECTED):
            return kmod.refused(error, "the module with the probes")
        what = "; ".join(line for line in said if "returned" in line or "kpmagic" in line)
        program = self._asked.programs[0].program if len(self._asked.programs) == 1 else None
        return Refused("attach", what or str(error), errno=error.errno, program=program)

    def _open(self) -> int:
        end = time.monotonic() + OPEN_SECONDS
        while True:
            try:
                return os.open(f"/dev/{self._name}", os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                if time.monotonic() > end:
                    self._remove()
                    raise Refused("load", f"no device /dev/{self._name}: {error}") from None
                time.sleep(0.005)

    def attach(self) -> dict[str, Any]:
        """Tell what became of each place; the wire's "attached" and "left_out"."""
        _, errors = self._status()
        where = dict(of_programs(self._asked.programs))
        result: dict[str, Any] = {"attached": [], "left_out": []}
        for program in self._asked.programs:
            error = errors[program.cookie]
            if error:
                message = os.strerror(-error)
                result["left_out"].append({"symbol": program.symbol, "message": message})
                continue
            found = where.get(program)
            result["attached"].append({
                "program": program.program,
                "address": found.address if found is not None else program.address,
            })  # fmt: skip
        return result

    def _status(self) -> tuple[int, list[int]]:
        """Return the kernel's count of missed hits, and for each place an errno, 0 for planted."""
        data = os.read(self._fd, 8 + 4 * self._places)
        missed, *errors = struct.unpack(f"<Q{self._places}i", data)
        return missed, errors

    def begin(self) -> None:
        """The gate opens now: what was missed until then is not the run's."""
        self._missed_before, _ = self._status()

    def missed(self) -> Missed | None:
        """Return the kernel's count of missed hits since `begin`, by reason."""
        returns = any(program.is_return for program in self._asked.programs)
        return {"return" if returns else "probe": self._status()[0] - self._missed_before}

    def spent(self) -> tuple[int, int] | None:
        """Return how often the handlers ran, and for how many ns."""
        return self.gate.spent()

    def measure(self, on: bool) -> None:
        """Its handlers always measure themselves."""

    def look(self) -> None:
        """Notice what has become of them: these stay as long as this process."""

    def detach(self) -> bool:
        """Take out the probes; the module stays until the ring is empty."""
        if self._attached:
            self._attached = False
            fcntl.ioctl(self._fd, DETACH)
        return True

    def leftovers(self, still_here: StillHere) -> tuple[int, int]:
        """Return (calls in flight, 0): a return that was missed had no entry either."""
        counters = self.gate.counters()
        return counters["entries"] - counters["hits"] - counters["unpaired"], 0

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the wire's AGGREGATES, index and blob."""
        index, blobs = [], []
        both = zip(self._asked.aggregates, self._asked.key_sizes)
        for number, (name, key_size) in enumerate(both):
            entries, blob = merge(self._table(number, key_size), key_size, SLOTS, self._cpus)
            index.append({"map": name, "key_size": key_size, "entries": entries})
            blobs.append(blob)
        return index, b"".join(blobs)

    def _table(self, number: int, key_size: int) -> bytes:
        size = self._rooms * SLOTS * (24 + key_size)
        whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        offset = (number + 1) * TABLE_OFFSET
        with mmap.mmap(self._fd, whole, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset) as memory:
            return memory[:size]

    def release(self) -> None:
        """Shut the gate, take everything out of the kernel."""
        self.gate.shut()
        self.detach()
        self.gate.close()
        self.ring.close()
        os.close(self._fd)
        self._remove()

    close = release

    def _remove(self) -> None:
        end = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                kmod.remove(self._name)
                return sweep.forget_module(self._name)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.EWOULDBLOCK) or time.monotonic() > end:
                    return sweep.module_is_over(self._name)
                time.sleep(0.01)
