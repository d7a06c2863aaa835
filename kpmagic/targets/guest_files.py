# SPDX-License-Identifier: MIT
"""What a sandbox boots with: busybox, modules, Python, the agent, the root directory's skeleton."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kpmagic.targets import commands, exports, initramfs, modules, qemu, runtime
from kpmagic.targets.archive import agent_archive, compiled
from kpmagic.targets.exports import Export
from kpmagic.targets.initramfs import Entry
from kpmagic.targets.kernels import Kernel

HERE = Path(__file__).parent
PYTHON = Path("/usr/bin/python3")
ENTROPY = 64  # bytes


def archive(kernel: Kernel) -> bytes:
    """Return the initial files as a cpio archive. Raises TargetError, MissingDependency."""
    agent = agent_archive()
    return initramfs.archive([
        *_program(kernel),
        initramfs.file("run/kpmagic/agent.pyz", compiled(agent, PYTHON)),
        *runtime.files(PYTHON, agent),
        *exports.files(),
    ])  # fmt: skip


def settings(exported: Sequence[Export], cwd: str) -> dict[str, Any]:
    """Return what makes a sandbox one of its own: see agent/waking.py."""
    mounts = [(each.kind, qemu.tag(number), each.path) for number, each in enumerate(exported)]
    return {
        "exports": [each for each in mounts if each[0] != "spare"],
        "workdir": cwd,
        "entropy": os.urandom(ENTROPY).hex(),
    }


def _program(kernel: Kernel) -> Iterator[Entry]:
    busybox = Path(commands.find("busybox")).read_bytes()
    yield initramfs.character_device("dev/console", 5, 1)
    yield initramfs.file("init", (HERE / "init.sh").read_bytes(), 0o755)
    yield initramfs.file("run/kpmagic/busybox", busybox, 0o755)
    yield initramfs.folder("run/kpmagic/modules")
    for number, path in enumerate(modules.to_load(kernel)):
        name = f"run/kpmagic/modules/{number:02}-{modules.load_name(path)}.ko"
        yield initramfs.file(name, modules.content(path))
    if kernel.config is not None:
        yield initramfs.file(f"image/boot/config-{kernel.release}", kernel.config.read_bytes())
    yield initramfs.folder("lower")
    yield initramfs.folder("scratch")
