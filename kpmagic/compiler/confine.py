# SPDX-License-Identifier: MIT
"""Lets a process give up everything but reading, or writing, a few folders (Landlock, limits).

Source: Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h. Where the kernel
has no Landlock the limits alone hold, `confine` says so, and no module is compiled as root.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Iterable

from kpmagic.errors import NotPermitted

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
# What a build does to files of its own: write, remove and make files, folders and links; since
# ABI 2 move them between folders, since ABI 3 truncate them
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12
_WRITE_OF_ABI = {1: _WRITE, 2: _WRITE | 1 << 13, 3: _WRITE | 1 << 13 | 1 << 14}
_WRITE_FILE = 1 << 1
_TRUNCATE = 1 << 14
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract unix sockets and signals
_PR_SET_NO_NEW_PRIVS = 38


def confine(
    readable: Iterable[str],
    *,
    memory: int,
    cpu_seconds: int | None,
    writable: Iterable[str] = (),
) -> bool:
    """Confine this process and its children; return whether files and network are closed too.

    ``memory`` is bytes of address space; ``cpu_seconds`` None leaves CPU time alone. Where the
    system allows less, that holds.
    """
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    if cpu_seconds is not None:
        _limit(resource.RLIMIT_CPU, cpu_seconds)
    libc, abi = ctypes.CDLL(None, use_errno=True), landlock()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or abi < 1:
        return False
    ruleset = _ruleset(libc, abi)
    if ruleset < 0:
        return False
    for path in readable:
        _allow(libc, ruleset, path)
    for path in writable:
        _allow(libc, ruleset, path, _WRITE_OF_ABI[min(abi, max(_WRITE_OF_ABI))])
    restricted = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(restricted)


def landlock() -> int:
    """Return the version of this kernel's Landlock, 0 where there is none or it is switched off."""
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def safe(confined: bool) -> bool:
    """Whether Kbuild may run: confined, or without the right to read every file."""
    return confined or os.geteuid() != 0


def unsafe() -> NotPermitted:
    """Return what is raised where it may not."""
    return NotPermitted(
        "a module is not compiled as root here: this kernel has no Landlock, so nothing would "
        "keep the compiler from reading root's files",
        hint="run the notebook as an ordinary user",
    )


def _limit(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (least, least))


def _ruleset(libc: ctypes.CDLL, abi: int) -> int:
    """Return a ruleset that handles, and so forbids, all that this ABI knows."""
    files = _RIGHTS_OF_ABI[max(known for known in _RIGHTS_OF_ABI if known <= abi)]
    fields = [files]
    if abi >= 4:
        fields.append(_TCP)
    if abi >= 6:
        fields.append(_SCOPES)
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    return int(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, more: int = 0) -> None:
    """Let everything beneath ``path`` be read and executed, and ``more`` be done to it.

    A path that is not there is skipped.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if os.path.isdir(path):
        rights = _READ | more
    else:
        rights = _EXECUTE | _READ_FILE | more & (_WRITE_FILE | _TRUNCATE)
    rule = struct.pack("<Qi", rights, fd)
    libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    os.close(fd)
