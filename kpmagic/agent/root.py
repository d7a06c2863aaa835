# SPDX-License-Identifier: MIT
"""A sandbox's root directory: the host's directories put into it, and the step inside."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from kpmagic.agent import fresh

IMAGE = "/image"  # init.sh has begun it
KEPT = "/run/kpmagic"  # busybox and the agent, at the same place in both roots

# include/uapi/linux/mount.h
MS_RDONLY, MS_BIND, MS_MOVE = 1, 4096, 8192

NINEP = "trans=virtio,version=9p2000.L,msize=262144,cache="


class Failed(Exception):
    """The sandbox cannot be used; the sentence goes to the console."""


def enter(exports: Iterable[tuple[str, str, str]], workdir: str) -> None:
    """Mount ``exports`` (kind, tag, path; see ``targets.exports``) and make that the root.

    Then go to ``workdir``, or to /tmp when it is not there. Raises Failed.
    """
    for kind, tag, path in exports:
        KINDS[kind](tag, path)
    _mount(KEPT, f"{IMAGE}{KEPT}", "none", MS_BIND)
    os.chdir(IMAGE)
    _mount(".", "/", "none", MS_MOVE)
    os.chroot(".")
    try:
        os.chdir(workdir)
    except OSError:
        os.chdir("/tmp")


def _plain(tag: str, path: str) -> None:
    """Read-only."""
    _mount(tag, _place(path), "9p", MS_RDONLY, NINEP + "loose")


def _mask(tag: str, path: str) -> None:
    """Nothing of it may be seen."""
    _mount("nothing", _place(path), "tmpfs", MS_RDONLY, "mode=0755")


def _scratch(tag: str, path: str, cache: str = "loose") -> None:
    """Read-only under a scratch layer."""
    lower, upper, work = f"/lower/{tag}", f"/scratch/{tag}/upper", f"/scratch/{tag}/work"
    for folder in (lower, upper, work):
        os.makedirs(folder)
    _mount(tag, lower, "9p", MS_RDONLY, NINEP + cache)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _mount("scratch", _place(path), "overlay", 0, options)


def _workdir(tag: str, path: str) -> None:
    """As scratch, and what the notebook writes there meanwhile is seen."""
    _scratch(tag, path, "none")
    os.environ[fresh.VARIABLE] = path


KINDS = {"plain": _plain, "mask": _mask, "scratch": _scratch, "workdir": _workdir}


def _place(path: str) -> str:
    place = f"{IMAGE}{path}"
    os.makedirs(place, exist_ok=True)
    return place


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [os.fsencode(word) for word in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options)):
        why = os.strerror(ctypes.get_errno())
        raise Failed(f"cannot mount {target.removeprefix(IMAGE)} ({kind}): {why}")
