# SPDX-License-Identifier: MIT
"""The border to libbpf.so.1: objects, maps, links. Its errors become Refused here, in one table."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from kpmagic.agent.arguments import Program
from kpmagic.agent.hello import LIBRARY
from kpmagic.agent.patience import patience
from kpmagic.agent.refusal import Refused

LOG_ROOM = 1 << 20  # bytes for the verifier's words, shared by an object's programs
LEAST_LOG = 4096  # of one program: the kernel takes no less than 128
# kernel/bpf/verifier.c: with BPF_LOG_STATS alone it says what is wrong, and no step of its walk,
# which may be a million steps long
SENTENCE, WALK = 4, 1
RUN_TIME_STATISTICS = 0  # uapi/linux/bpf.h: enum bpf_stats_type
# The agent serves all runs in one thread; a program that walks in circles may hold it so long.
VERIFIER_SECONDS = 15.0


class OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts as far as it is used here; libbpf takes shorter ones."""

    _fields_ = (("sz", c_size_t), ("object_name", c_char_p))


class KprobeOptions(ctypes.Structure):
    """struct bpf_kprobe_opts; an address without a symbol is its offset."""

    _fields_ = (
        ("sz", c_size_t),
        ("bpf_cookie", c_uint64),
        ("offset", c_size_t),
        ("retprobe", c_bool),
    )


class MultiOptions(ctypes.Structure):
    """struct bpf_kprobe_multi_opts, Linux 5.18 and libbpf 0.8."""

    _fields_ = (
        ("sz", c_size_t),
        ("syms", c_void_p),
        ("addrs", c_void_p),
        ("cookies", c_void_p),
        ("cnt", c_size_t),
        ("retprobe", c_bool),
    )


# name → result, arguments; results of kind int are negative errno on failure
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, POINTER(OpenOptions))),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_char_p, c_uint64)),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_program__attach_kprobe_opts": (c_void_p, (c_void_p, c_char_p, POINTER(KprobeOptions))),
    "bpf_program__attach_kprobe_multi_opts": (
        c_void_p,
        (c_void_p, c_char_p, POINTER(MultiOptions)),
    ),
    "bpf_program__attach_trace": (c_void_p, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_enable_stats": (c_int, (c_int,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
}

ATTACH_ERRORS = {
    errno.ENOENT: "this kernel has no such symbol",
    errno.EINVAL: "the kernel does not allow a probe there: blacklisted, notrace, or no function",
    errno.EADDRNOTAVAIL: "several functions have this name: probe one by its address",
    errno.EILSEQ: "the offset is inside an instruction",
}
LOCKED_DOWN = "the kernel is locked down (confidentiality)"
# kernel/trace/bpf_trace.c offers it to every such program, but for LOCKDOWN_BPF_READ_KERNEL
FORBIDDEN_READ = "unknown func bpf_probe_read"
LOCKED = "before Linux 5.11 maps are locked memory, of which `ulimit -l` allows too little"
NOT_PERMITTED = (errno.EPERM, errno.EACCES)

_library: list[ctypes.CDLL] = []


def library() -> ctypes.CDLL:
    """Return libbpf, loaded once and silent. Raises Refused."""
    if not _library:
        try:
            loaded = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            message = f"{error}; install it on the target: apt-get install libbpf1"
            raise Refused("load", message, errno=errno.ENOENT) from None
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        loaded.libbpf_set_print(None)
        _library.append(loaded)
    return _library[0]


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


def enable_statistics() -> int | None:
    """Have the kernel count runs and time of all programs while the returned descriptor is open.

    None where it does not: before Linux 5.8, and without CAP_SYS_ADMIN.
    """
    descriptor = library().bpf_enable_stats(RUN_TIME_STATISTICS)
    return None if descriptor < 0 else int(descriptor)


def object_info(fd: int, size: int) -> bytes:
    """Return the first ``size`` bytes of a link's or program's struct bpf_…_info.

    Shorter when this kernel's struct is shorter, ``b""`` when it has none for this object.
    """
    buffer = ctypes.create_string_buffer(size)
    length = c_uint32(size)
    if library().bpf_obj_get_info_by_fd(fd, buffer, ctypes.byref(length)) < 0:
        return b""
    return buffer.raw[: length.value]


def refused(
    code: int, kind: str, what: str, *, log: str | None = None, program: str | None = None
) -> Refused:
    """Return the answer for errno ``code``; lockdown and missing rights have their own kind."""
    why = ATTACH_ERRORS.get(code) if kind == "attach" else None
    if locked_down():
        kind, why = "permission", LOCKED_DOWN
    elif code in NOT_PERMITTED and kind != "verifier":
        kind = "permission"
    return Refused(
        kind, f"{what}: {why or os.strerror(code)}", errno=code, log=log, program=program
    )


def locked_down() -> bool:
    """Whether lockdown forbids reading kernel memory; its errors are then misleading."""
    try:
        with open("/sys/kernel/security/lockdown", encoding="ascii") as file:
            return "[confidentiality]" in file.read()
    except OSError:
        return False
