# SPDX-License-Identifier: MIT
"""Whether KVM truly works here: tried once per boot of the host and per QEMU, then remembered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kpmagic import cache
from kpmagic.targets import commands

DEVICE = "/dev/kvm"


def may_use_kvm() -> bool:
    """Tell whether KVM is there and has not been found not to work."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    verdict = _verdict()
    return not verdict.exists() or verdict.read_text() == "works\n"


def remember_kvm(works: bool) -> None:
    """Keep the outcome of a boot with KVM."""
    _verdict().write_text("works\n" if works else "silent\n")


def _verdict() -> Path:
    emulator = os.stat(commands.find("qemu-system-x86_64"))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    key = f"{boot} {emulator.st_ino} {emulator.st_mtime_ns} {emulator.st_size}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache.directory("kvm") / name
