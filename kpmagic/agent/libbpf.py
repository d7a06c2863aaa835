# SPDX-License-Identifier: MIT
"""The border to libbpf.so.1: its functions. Its errors become Refused here, in one table."""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from kpmagic.agent.hello import LIBRARY
from kpmagic.agent.refusal import Refused

RUN_TIME_STATISTICS = 0  # uapi/linux/bpf.h: enum bpf_stats_type


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
