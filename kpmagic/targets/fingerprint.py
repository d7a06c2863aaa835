# SPDX-License-Identifier: MIT
"""What makes one saved machine differ from another."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kpmagic.targets import commands, qemu, saved_state

# of /proc/cpuinfo: a machine that KVM runs has the host's processor
CPU = re.compile(r"^(?:vendor_id|cpu family|model( name)?|stepping|microcode|flags)\s*:.*$", re.M)


def machine(files: bytes, machine: qemu.Machine) -> str:
    """Return the name of a machine that boots with the initial files ``files``.

    Those hold the agent, Python, libbpf, busybox, the modules and /etc; ``machine`` says the rest
    of QEMU's command line, with nothing in it that differs from notebook to notebook.
    """
    return saved_state.digest(
        files,
        "\0".join(qemu.command(machine)),
        _stamp(machine.image),
        _stamp(Path(commands.find("qemu-system-x86_64"))),
        _host() if machine.accelerator == "kvm" else "",
    )


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"


def _host() -> str:
    cpus = {found[0] for found in CPU.finditer(Path("/proc/cpuinfo").read_text())}
    return "\n".join([os.uname().release, *sorted(cpus)])
