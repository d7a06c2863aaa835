# SPDX-License-Identifier: MIT
"""Kernel modules in and out: init_module(2) and delete_module(2), what /proc/modules says."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import NamedTuple

from kpmagic.agent.refusal import Refused

INIT_MODULE, DELETE_MODULE = 175, 176  # arch/x86/entry/syscalls/syscall_64.tbl
MODULES = "/proc/modules"
BUILT_IN = "/sys/module"  # loaded ones too
LOCKDOWN = "/sys/kernel/security/lockdown"
REFUSALS = {
    errno.EEXIST: "a module of this name is loaded already",
    errno.ENOEXEC: "the kernel does not take this file: it was built for another kernel",
    errno.EKEYREJECTED: "this kernel takes signed modules only",
    errno.ENOKEY: "this kernel takes signed modules only",
    errno.EBUSY: "the module is in use",
    errno.EWOULDBLOCK: "the module is in use",
    errno.ENOENT: "no such module is loaded",
}


class Loaded(NamedTuple):
    """A line of /proc/modules: bytes, how many use it and who, Live or Unloading or Loading."""

    size: int
    used: int
    by: tuple[str, ...]
    state: str


def insert(image: bytes, parameters: str) -> None:
    """Load a module and run its init. Raises OSError with what the kernel, or init, returned."""
    _call(INIT_MODULE, image, len(image), parameters.encode())


def remove(name: str) -> None:
    """Run a module's exit and unload it, unless it is in use. Raises OSError."""
    _call(DELETE_MODULE, name.encode(), os.O_NONBLOCK)


def _call(number: int, *arguments: bytes | int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if library.syscall(ctypes.c_long(number), *words) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def loaded(name: str) -> Loaded | None:
    """Return what the kernel says of a module, None when it is not there."""
    with open(MODULES, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == name:
                by = tuple(each for each in words[3].split(",") if each and each != "-")
                used = int(words[2]) if words[2].isdigit() else 0
                return Loaded(int(words[1]), used, by, words[4])
    return None


def taken(name: str) -> str:
    """Return why no module can have this name, ``""`` when one can."""
    if loaded(name) is not None:
        return REFUSALS[errno.EEXIST]
    return "a part of this kernel has this name" if os.path.isdir(f"{BUILT_IN}/{name}") else ""


def why_it_stays(name: str) -> str:
    """Return what keeps a module in, as far as the kernel's list tells; ``""`` when it is out."""
    found = loaded(name)
    if found is None:
        return ""
    if "[permanent]" in found.by:
        return "it has no module_exit()"
    users = f" by {', '.join(found.by)}" if found.by else ""
    return f"it is in use{users}" if found.used else "nobody has taken it out"


def refused(error: OSError, what: str, log: list[str] | None = None) -> Refused:
    """Return why a module did not go in or out; ``log`` is what the kernel said meanwhile."""
    code = error.errno or 0
    if code == errno.EPERM:
        why = "the kernel is locked down" if _locked_down() else "root may do that, nobody else"
        return Refused("permission", f"{what}: {why}", errno=code)
    why = REFUSALS.get(code, os.strerror(code))
    return Refused("module", f"{what}: {why}", errno=code, log="\n".join(log or []))


def _locked_down() -> bool:
    try:
        with open(LOCKDOWN, encoding="ascii") as file:
            return "[none]" not in file.read()
    except OSError:
        return False
