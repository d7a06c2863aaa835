# SPDX-License-Identifier: MIT
"""QEMU's command line, as one function over tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kpmagic.errors import TargetError
from kpmagic.targets.exports import Export

PORT = "kpmagic.agent"

Accelerator = Literal["tcg", "kvm"]

# A kernel that is told of erms copies by `rep movsb`, which is emulated byte by byte: five times as
# slow as the loop it has for others (arch/x86/lib). Page tables of five levels are longer to walk.
SLOW_EMULATED = ("erms", "fsrm", "la57")

ACCELERATORS: dict[Accelerator, tuple[str, ...]] = {
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", ",-".join(("max", *SLOW_EMULATED))),
    "kvm": ("-accel", "kvm", "-cpu", "host"),
}

# argument → why
MACHINE: dict[tuple[str, ...], str] = {
    ("-nodefaults", "-no-user-config"): "nothing but what is named here",
    ("-display", "none"): "no window",
    ("-M", "q35,memory-backend=ram"):
        "a PC that the kernel enters directly (PVH), without a boot loader",
    ("-no-reboot",): "a panic ends QEMU",
    ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"):
        "a guest that breaks out finds little it may call",
    ("-device", "virtio-serial-pci"): "the bus of the agent's port",
}  # fmt: skip

# kernel parameter → why
PARAMETERS: dict[str, str] = {
    "console=ttyS0": "the log that is kept",
    "oops=panic": "no wedged guest after a bad pointer in a module",
    "softlockup_panic=1": "nor after an endless loop",
    "panic=-1": "and then the end at once",
    "mitigations=off": "a throw-away machine with one user",
    "audit=0": "no daemon reads it",
    "apparmor=0": "the host's profiles are not meant for it",
    "selinux=0": "nor are labels",
    "random.trust_cpu=on": "no wait for entropy",
    "8250.nr_uarts=1": "no search for serial ports that are not there",
    "rcupdate.rcu_expedited=1": "detaching a probe waits for RCU",
    "cryptomgr.notests": "0.9 s of self-tests under emulation",
    "no_timer_check": "on a busy host the check finds QEMU's timer dead, and panics",
    "lpj=4000000": "no calibration of delay loops, which emulation disturbs: 0.3 s",
    "tsc=reliable": "QEMU's is the host's; the HPET costs 1 µs more at each reading",
    "rdinit=/init": "the sandbox's first process",
}

# accelerator → kernel parameter → why
PARAMETERS_WITH: dict[Accelerator, dict[str, str]] = {
    "tcg": {
        "loglevel=5": "warnings: the stack of a handler that has slept is one",
        "norandmaps":
            "QEMU translates code anew at each address: a program took 100 ms to start, now 25",
    },
    "kvm": {"earlyprintk=ttyS0,115200": "a console that stays silent tells that KVM does not work"},
}  # fmt: skip


# What the kernel does not know it hands to /init, and that to the agent, which then loads all that
# runs need before it says that it is prepared; otherwise it does when it has greeted.
SAVED = "KPMAGIC_SAVED=1"

# The same firmware as with -kernel, whose image need not be read again
RESTORED = ("-option-rom", "pvh.bin", "-incoming", "defer")

SMALLEST, LARGEST = 128 << 20, 1 << 40
MOST = 255  # processors of a q35
UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class Machine:
    """What is booted; ``initrd`` None: what is restored.

    ``initrd``, ``port``, ``monitor`` and ``ram`` are file descriptors QEMU inherits, ``memory`` is
    in bytes. ``saved``: the machine may be saved before its agent speaks.
    """

    image: Path
    initrd: int | None
    port: int
    monitor: int
    ram: int
    console: Path
    memory: int = 512 << 20
    cpus: int = 2
    accelerator: Accelerator = "tcg"
    exports: Sequence[Export] = field(default=())
    saved: bool = False


def memory_size(text: str) -> int:
    """Return ``512M`` in bytes; a number alone is in MB, as QEMU takes it. Raises TargetError."""
    match = re.fullmatch(r"(\d{1,7})([KMGT]?)", text.strip().upper().removesuffix("B"))
    size = int(match[1]) << UNITS[match[2] or "M"] if match else 0
    if not SMALLEST <= size <= LARGEST:
        raise TargetError(
            f"no memory {text!r} for a sandbox", hint="a size such as 512M or 1G, at least 128M"
        )
    return size & -(1 << 20)


def processors(value: object) -> int:
    """Return how many a machine has: 1 to 255. Raises TargetError."""
    text = str(value)
    if not (re.fullmatch(r"[0-9]{1,3}", text) and 1 <= int(text) <= MOST):
        raise TargetError(f"no {text!r} processors for a sandbox",
                          hint=f"a whole number from 1 to {MOST}")  # fmt: skip
    return int(text)


def command(machine: Machine) -> list[str]:
    """Return the arguments after the program's name."""
    arguments = [word for words in MACHINE for word in words]
    arguments += ACCELERATORS[machine.accelerator]
    arguments += ["-smp", str(machine.cpus), *_memory(machine)]
    if machine.initrd is None:
        arguments += RESTORED
    else:
        arguments += ["-kernel", str(machine.image), "-initrd", f"/proc/self/fd/{machine.initrd}"]
        saved = [SAVED] if machine.saved else []
        chosen = PARAMETERS_WITH[machine.accelerator]
        arguments += ["-append", " ".join((*PARAMETERS, *chosen, *saved))]
    arguments += ["-chardev", f"file,id=console,path={_quoted(machine.console)}"]
    arguments += ["-serial", "chardev:console"]
    arguments += ["-chardev", f"socket,id=monitor,fd={machine.monitor}"]
    arguments += ["-mon", "chardev=monitor,mode=control"]
    arguments += ["-chardev", f"socket,id=agent,fd={machine.port}"]
    for number, export in enumerate(machine.exports):
        arguments += _export(tag(number), export)
    return arguments


def port() -> dict[str, Any]:
    """Return the device that is the way to the agent, plugged in when the guest waits for it."""
    return {"driver": "virtserialport", "id": "port", "chardev": "agent", "name": PORT}


def _memory(machine: Machine) -> list[str]:
    """A file that others see change when it may be saved; a copy of its own when restored."""
    share = "off" if machine.initrd is None else "on"
    where = f"mem-path=/proc/self/fd/{machine.ram}"
    return [
        "-m", f"{machine.memory >> 20}M",
        "-object", f"memory-backend-file,id=ram,size={machine.memory},{where},share={share}",
    ]  # fmt: skip


def tag(number: int) -> str:
    """Return the name by which the guest mounts an export."""
    return f"host{number}"


def _export(name: str, export: Export) -> list[str]:
    if export.kind == "mask":
        return []
    options = "security_model=none,readonly=on,multidevs=remap"
    return [
        "-fsdev", f"local,id={name},path={_quoted(export.source)},{options}",
        "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}",
    ]  # fmt: skip


def _quoted(path: Path) -> str:
    """Return a path as a value of a QEMU option, in which a comma is doubled."""
    return str(path).replace(",", ",,")
