# SPDX-License-Identifier: MIT
"""What a sandbox boots with: busybox, modules, the agent, and the root directory's skeleton."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kpmagic.targets import commands, exports, initramfs, modules, qemu
from kpmagic.targets.archive import agent_archive, compiled
from kpmagic.targets.exports import Export
from kpmagic.targets.initramfs import Entry
from kpmagic.targets.kernels import Kernel

HERE = Path(__file__).parent
PYTHON = Path("/usr/bin/python3")


def archive(kernel: Kernel, exported: Sequence[Export], cwd: str) -> bytes:
    """Return the initial files as a cpio archive. Raises TargetError, MissingDependency."""
    return initramfs.archive([*_program(kernel), *_settings(exported, cwd), *exports.files()])


def _program(kernel: Kernel) -> Iterator[Entry]:
    busybox = Path(commands.find("busybox")).read_bytes()
    yield initramfs.character_device("dev/console", 5, 1)
    yield initramfs.file("init", (HERE / "init.sh").read_bytes(), 0o755)
    yield initramfs.file("kpmagic/start", (HERE / "start.sh").read_bytes())
    yield initramfs.file("kpmagic/busybox", busybox, 0o755)
    yield initramfs.file("kpmagic/agent.pyz", compiled(agent_archive(), PYTHON))
    yield initramfs.folder("kpmagic/modules")
    for number, path in enumerate(modules.to_load(kernel)):
        name = f"kpmagic/modules/{number:02}-{modules.load_name(path)}.ko"
        yield initramfs.file(name, modules.content(path))
    if kernel.config is not None:
        yield initramfs.file(f"image/boot/config-{kernel.release}", kernel.config.read_bytes())


def _settings(exported: Sequence[Export], cwd: str) -> Iterator[Entry]:
    lines = [
        f"{each.kind} {qemu.tag(number)} {each.path}\n" for number, each in enumerate(exported)
    ]
    yield initramfs.file("kpmagic/exports", "".join(lines).encode())
    yield initramfs.file("kpmagic/workdir", f"{cwd}\n".encode())
    yield initramfs.folder("lower")
    yield initramfs.folder("scratch")
