# SPDX-License-Identifier: MIT
"""Objects of libbpf, their maps, and the links that their programs are planted by."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from ctypes import c_size_t, c_uint64

from kpmagic.agent.arguments import Program
from kpmagic.agent.libbpf import (
    LOCKED_DOWN,
    KprobeOptions,
    MultiOptions,
    OpenOptions,
    library,
    object_info,
    refused,
)
from kpmagic.agent.patience import patience
from kpmagic.agent.refusal import Refused

LOG_ROOM = 1 << 20  # bytes for the verifier's words, shared by an object's programs
LEAST_LOG = 4096  # of one program: the kernel takes no less than 128
# kernel/bpf/verifier.c: with BPF_LOG_STATS alone it says what is wrong, and no step of its walk,
# which may be a million steps long
SENTENCE, WALK = 4, 1
# The agent serves all runs in one thread; a program that walks in circles may hold it so long.
VERIFIER_SECONDS = 15.0
# kernel/trace/bpf_trace.c offers it to every such program, but for LOCKDOWN_BPF_READ_KERNEL
FORBIDDEN_READ = "unknown func bpf_probe_read"
LOCKED = "before Linux 5.11 maps are locked memory, of which `ulimit -l` allows too little"


class Map:
    """A map of an object; ``fd`` is there once the object is loaded."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer
        self.name: str = library().bpf_map__name(pointer).decode()
        self.key_size: int = library().bpf_map__key_size(pointer)
        self.value_size: int = library().bpf_map__value_size(pointer)

    @property
    def fd(self) -> int:
        """The map's descriptor."""
        return int(library().bpf_map__fd(self._pointer))

    @property
    def max_entries(self) -> int:
        """How many entries it can hold."""
        return int(library().bpf_map__max_entries(self._pointer))

    def resize(self, entries: int) -> None:
        """Set ``max_entries`` before loading. Raises Refused."""
        result = library().bpf_map__set_max_entries(self._pointer, entries)
        if result < 0:
            raise refused(-result, "load", f"map '{self.name}'")

    def set_first_bytes(self, data: bytes) -> None:
        """Write to a data section before it is loaded. Raises Refused."""
        size = c_size_t()
        place = library().bpf_map__initial_value(self._pointer, ctypes.byref(size))
        if not place or size.value < len(data):
            raise Refused("load", f"section '{self.name}' is shorter than {len(data)} bytes")
        ctypes.memmove(place, data, len(data))


class Object:
    """A BPF object: opened when made, then loaded, then closed."""

    def __init__(self, data: bytes) -> None:
        """Open it. Raises Refused."""
        options = OpenOptions(ctypes.sizeof(OpenOptions), b"kp")
        pointer = library().bpf_object__open_mem(data, len(data), ctypes.byref(options))
        if not pointer:
            raise refused(ctypes.get_errno(), "load", "not a BPF object")
        self._pointer: int | None = pointer
        self.maps = {item.name: item for item in map(Map, self._each("bpf_object__next_map"))}
        self.programs: dict[str, int] = {
            library().bpf_program__name(program).decode(): program
            for program in self._each("bpf_object__next_program")
        }

    def _each(self, following: str) -> Iterator[int]:
        step = getattr(library(), following)
        item = step(self._pointer, None)
        while item:
            yield item
            item = step(self._pointer, item)

    def map(self, name: str) -> Map:
        """Return a map by name. Raises Refused."""
        if name not in self.maps:
            raise Refused("load", f"the object has no map '{name}'")
        return self.maps[name]

    def load(self, log_level: int = SENTENCE) -> None:
        """Have the kernel take it. Raises Refused with the verifier's log when it spoke."""
        count = max(1, len(self.programs))
        room = max(LEAST_LOG, LOG_ROOM // count & ~4095)
        logs = mmap.mmap(-1, count * room)
        base = ctypes.c_char.from_buffer(logs)
        address = ctypes.addressof(base)
        del base
        for number, program in enumerate(self.programs.values()):
            library().bpf_program__set_log_level(program, log_level)
            library().bpf_program__set_log_buf(program, address + number * room, room)
        with patience(VERIFIER_SECONDS):
            result = library().bpf_object__load(self._pointer)
        try:
            if result == -errno.EAGAIN:
                log = f"program is too complex: not verified within {VERIFIER_SECONDS:.0f} s"
                raise refused(errno.E2BIG, "verifier", "the verifier gave up", log=log)
            if result < 0:
                self._refuse(-result, logs, room)
        finally:
            for program in self.programs.values():
                library().bpf_program__set_log_buf(program, None, 0)
            logs.close()

    def _refuse(self, code: int, logs: mmap.mmap, room: int) -> None:
        """The program that failed is the last that the kernel has said something about."""
        for number, name in reversed(list(enumerate(self.programs))):
            start = number * room
            end = logs.find(b"\0", start, start + room)
            log = logs[start : end if end >= 0 else start + room].decode("utf-8", "replace")
            if FORBIDDEN_READ in log:
                raise Refused("permission", LOCKED_DOWN, errno=errno.EPERM, program=name)
            if log:
                raise refused(code, "verifier", "the verifier refused", log=log, program=name)
        why = "the kernel did not take the object"
        if code == errno.EPERM and os.geteuid():
            why += f" ({LOCKED})"
        raise refused(code, "load", why)

    def attach(self, place: Program) -> Link:
        """Plant a program at one place. Raises Refused."""
        named = place.symbol is not None and not place.exact
        offset = place.offset if named else place.address
        size = ctypes.sizeof(KprobeOptions)
        options = KprobeOptions(size, place.cookie, offset, place.is_return)
        where = os.fsencode(place.symbol) if named and place.symbol is not None else None
        attach = library().bpf_program__attach_kprobe_opts
        pointer = attach(self._program(place.program), where, ctypes.byref(options))
        if not pointer:
            code = ctypes.get_errno()
            raise refused(code, "attach", f"'{place.place}'", program=place.program)
        return Link(pointer)

    def attach_trace(self, place: Program) -> Link:
        """Have a trampoline call a program from where its section says. Raises Refused."""
        pointer = library().bpf_program__attach_trace(self._program(place.program))
        if not pointer:
            code = ctypes.get_errno()
            raise refused(code, "attach", f"'{place.place}'", program=place.program)
        return Link(pointer)

    def attach_multi(self, places: Sequence[Program]) -> Link:
        """Plant one program at the addresses of many places at once. Raises Refused."""
        count = len(places)
        addresses = (c_uint64 * count)(*(place.address or 0 for place in places))
        cookies = (c_uint64 * count)(*(place.cookie for place in places))
        options = MultiOptions(
            ctypes.sizeof(MultiOptions),
            None,
            ctypes.addressof(addresses),
            ctypes.addressof(cookies),
            count,
            places[0].is_return,
        )
        attach = library().bpf_program__attach_kprobe_multi_opts
        pointer = attach(self._program(places[0].program), None, ctypes.byref(options))
        if not pointer:
            what = f"{count} functions, '{places[0].place}' first"
            raise refused(ctypes.get_errno(), "attach", what, program=places[0].program)
        return Link(pointer)

    def _program(self, name: str) -> int:
        if name not in self.programs:
            raise Refused("load", f"the object has no program '{name}'", program=name)
        return self.programs[name]

    def program_fds(self) -> list[int]:
        """Return the descriptors of the loaded programs."""
        return [library().bpf_program__fd(program) for program in self.programs.values()]

    def close(self) -> None:
        """Give back everything but links."""
        if self._pointer is not None:
            library().bpf_object__close(self._pointer)
            self._pointer = None


class Link:
    """A planted probe; gone when destroyed or when this process ends."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def info(self, size: int) -> bytes:
        """Return what the kernel tells of it, see ``object_info``."""
        return object_info(library().bpf_link__fd(self._pointer), size)

    def destroy(self) -> None:
        """Take the probe out; returns when its program no longer runs on any CPU.

        Closing the perf event ends in unregister_kprobe(), which waits for an RCU grace period.
        """
        library().bpf_link__destroy(self._pointer)
