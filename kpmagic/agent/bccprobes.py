# SPDX-License-Identifier: MIT
"""What one run has in the kernel when BCC compiles its handlers: the maps are the agent's own.

It has the methods of `probes.Probes`, for a run does not care who compiled. BCC's process (bcc.py)
inherits the maps' descriptors, which the source is given as numbers; it plants the probes and keeps
them until it is asked to end. It takes seconds to start, so it is waited for by `Compiling`.
"""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any

from kpmagic.agent.arguments import Start
from kpmagic.agent.gate import Gate
from kpmagic.agent.hello import possible_cpus
from kpmagic.agent.leftovers import count_in_flight, names_in_stacks
from kpmagic.agent.libbpf import library, refused
from kpmagic.agent.maps import read_aggregates, read_keys
from kpmagic.agent.missed import Missed
from kpmagic.agent.peer import bcc_tool
from kpmagic.agent.planting import StillHere
from kpmagic.agent.probes import config
from kpmagic.agent.refusal import Refused
from kpmagic.agent.ring import Ring
from kpmagic.agent.switches import check_switches
from kpmagic.agent.tool import FIRST_FILE

CONFIG, GATE, RING = "kp_config", "kp", "kp_ring"
FIRST_MAP = FIRST_FILE + 2  # behind settings and program
SIZES = (("key_size", 1 << 16), ("value_size", 1 << 24), ("entries", 1 << 30), ("flags", 1 << 20))


class OwnMap:
    """A map that is made; it has what maps.py asks of a map."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        """Make it. Raises Refused."""
        self.name = str(wanted["name"])
        self.key_size, self.value_size, self.max_entries, flags = (
            _number(wanted, name, most) for name, most in SIZES
        )
        fd = library().bpf_map_create(
            _number(wanted, "type", 64), None, self.key_size, self.value_size,
            self.max_entries, ctypes.byref(map_options(flags)),
        )  # fmt: skip
        if fd < 0:
            raise refused(-fd, "load", f"map '{self.name}'")
        self.fd: int = fd

    def close(self) -> None:
        """Give it back, unless a program has it."""
        os.close(self.fd)


class BccProbes:
    """Maps and BCC's process. Whoever makes one closes it."""

    def __init__(self, asked: Start, cgroup: int, number: int) -> None:
        """Make the maps and start BCC; nothing is planted until it says so. Raises Refused."""
        check_switches()
        self._asked = asked
        self._cpus = possible_cpus()
        self._maps: dict[str, OwnMap] = {}
        self._names: set[bytes] = set()
        parts = _parts(asked.object)
        try:
            for wanted in parts["maps"]:
                if wanted["name"] == RING:
                    wanted = wanted | {"entries": asked.buffer}
                self._maps[wanted["name"]] = OwnMap(wanted)
            self._configure(config(asked, cgroup))
            self.gate = Gate(self._maps[GATE].fd, self._cpus)
            self.ring = Ring(self._maps[RING].fd, asked.buffer, asked.record)
            self.tool = self._start(parts, f"{number}.bcc")
        except BaseException:
            for each in self._maps.values():
                each.close()
            raise

    def _configure(self, data: bytes) -> None:
        key = ctypes.c_uint32(0)
        fd = self._maps[CONFIG].fd
        result = library().bpf_map_update_elem(fd, ctypes.byref(key), data, 0)
        if result < 0:
            raise refused(-result, "load", f"map '{CONFIG}'")

    def _start(self, parts: dict[str, Any], name: str) -> Any:
        numbers = {each: FIRST_MAP + at for at, each in enumerate(self._maps)}
        settings = {
            "script": False,
            "types_only": True,
            "types": parts["types"],
            "cflags": [*parts["cflags"], *(f"-DKP_FD_{each}={fd}" for each, fd in numbers.items())],
            "attach": [{"function": each.program, "symbol": each.symbol, "offset": each.offset,
                        "return": each.is_return, "optional": each.optional}
                       for each in self._asked.programs],
            "tables": {},
            "trace": False,
        }  # fmt: skip
        fds = [each.fd for each in self._maps.values()]
        return bcc_tool(name, parts["source"].encode(), json.dumps(settings), None, fds)

    def attach(self) -> dict[str, Any]:
        """Tell what has been planted; the wire's "attached", "left_out", "ways"."""
        attached = [{"program": each.program, "address": each.address}
                    for each in self._asked.programs]  # fmt: skip
        if self._asked.entries:
            self._names = names_in_stacks(self._asked.programs)
        ways = sorted({each.way for each in self._asked.programs})
        return {"attached": attached, "left_out": [], "ways": ways}

    def begin(self) -> None:
        """The gate opens now: nothing is counted that was before."""

    def look(self) -> None:
        """Notice the end of BCC's process, which nobody has asked for. Raises Refused."""
        self.tool.errors.read()
        self.tool.look()
        if self.tool.exit_code is not None:
            raise Refused("os", f"BCC's process ended with {self.tool.exit_code}")

    def detach(self) -> bool:
        """Begin to take out the probes, or see how far that is: whether all are out."""
        self.tool.finish()
        self.tool.look()
        return self.tool.exit_code is not None

    def missed(self) -> Missed | None:
        """Return None: the links are not the agent's."""
        return None

    def spent(self) -> tuple[int, int] | None:
        """Return None: the programs are not the agent's, and what they cost it is not told."""
        return None

    def measure(self, on: bool) -> None:
        """Nothing of it is measured."""

    def leftovers(self, still_here: StillHere) -> tuple[int, int]:
        """Return (calls in flight, returns missed) of what has begun. While attached."""
        if not self._asked.entries:
            return 0, 0
        source: Any = self._maps[self._asked.entries]
        keys = read_keys(source)
        in_flight = count_in_flight(keys, self._names, still_here)
        return in_flight, len(keys) // source.key_size - in_flight

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the wire's AGGREGATES, index and blob. Raises Refused."""
        maps: list[Any] = [self._maps[name] for name in self._asked.aggregates]
        return read_aggregates(maps, self._cpus)

    def release(self) -> None:
        """Shut the gate and give everything back. May be called twice."""
        if not self._maps:
            return
        self.gate.shut()
        self.tool.close()
        self.gate.close()
        self.ring.close()
        while self._maps:
            self._maps.popitem()[1].close()

    def close(self) -> None:
        """Release, and return when the probes are out: with the process that has them."""
        self.release()


class MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts as far as it is used here; libbpf takes shorter ones."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


def map_options(flags: int) -> MapOptions:
    """Return the options that ask for ``flags``."""
    return MapOptions(ctypes.sizeof(MapOptions), 0, 0, 0, 0, 0, flags)


def _parts(blob: bytes) -> dict[str, Any]:
    """Return a payload: source, types, cflags, maps. Raises Refused."""
    try:
        parts = json.loads(blob)
        names = {each["name"] for each in parts["maps"]}
        texts = [parts["source"], parts["types"], *parts["cflags"]]
    except (ValueError, TypeError, KeyError) as error:
        raise Refused("load", f"not a source for BCC: {error}") from None
    if not {CONFIG, GATE, RING} <= names or not all(isinstance(each, str) for each in texts):
        raise Refused("load", "not a source for BCC")
    return dict(parts)


def _number(wanted: dict[str, Any], name: str, most: int) -> int:
    value = wanted.get(name)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise Refused("load", f"a map's '{name}' must be a number from 0 to {most}")
    return value
