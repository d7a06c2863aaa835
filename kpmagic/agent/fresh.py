# SPDX-License-Identifier: MIT
"""A directory whose files change behind the kernel's back: the notebook's folder in the sandbox."""

from __future__ import annotations

import ctypes
import os

VARIABLE = "KPMAGIC_FRESH"
MS_REMOUNT = 32


def forget() -> None:
    """Make the kernel look up anew what lies in the directory that KPMAGIC_FRESH names, if any.

    An overlay remembers names, also those that were not there; a remount drops them
    (linux/fs/super.c: reconfigure_super calls shrink_dcache_sb). It takes 2 ms under emulation.
    """
    path = os.environ.get(VARIABLE)
    if path:
        ctypes.CDLL(None).mount(None, os.fsencode(path), None, MS_REMOUNT, None)
