# SPDX-License-Identifier: MIT
"""A kernel the user has: its release, its BTF, its modules; what it lacks to be booted."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypedDict

from kpmagic import cache
from kpmagic.errors import TargetError
from kpmagic.targets import bzimage
from kpmagic.whole import write_private

IMAGES = ("vmlinux", "vmlinuz", "bzImage", "arch/x86/boot/bzImage")


class Found(TypedDict):
    """What is known of an image; see ``kernels.Kernel``."""

    release: str
    directory: Path
    image: Path
    btf: Path | None
    modules: Path | None
    config: Path | None


def examine(path: Path) -> Found:
    """Look at an image, or at a directory that holds one. Raises TargetError."""
    image = _image(path)
    try:
        data = image.read_bytes()
    except OSError as error:
        raise TargetError(
            f"cannot read kernel {str(image)!r}: {error.strerror}",
            hint="give the path of a bzImage or vmlinux that you may read",
        ) from None
    elf = bzimage.vmlinux(data)
    name = release(elf)
    directory = cache.directory("kernels", f"image-{hashlib.sha256(data).hexdigest()[:16]}")
    boot = image if elf is data else _keep(directory / "vmlinux", elf)
    btf = bzimage.section(elf, ".BTF")
    return Found(
        release=name,
        directory=directory,
        image=boot,
        btf=None if btf is None else _keep(directory / "btf", btf),
        modules=_modules(image, name),
        config=_config(image, name),
    )


def release(elf: bytes) -> str:
    """Return what the kernel calls itself. Raises TargetError."""
    match = re.search(rb"Linux version ([\w.+~-]+) \(", elf)
    if match is None:
        raise TargetError("not a Linux kernel: no version in it", hint="give a bzImage or vmlinux")
    return match[1].decode()


def _image(path: Path) -> Path:
    if not path.exists():
        raise TargetError(f"no kernel at {str(path)!r}", hint="give a bzImage or vmlinux")
    if not path.is_dir():
        return path
    found = [path / name for name in IMAGES if (path / name).is_file()]
    if not found:
        raise TargetError(
            f"no kernel image in {str(path)!r}", hint=f"looked for {', '.join(IMAGES)}"
        )
    return found[0]


def _keep(path: Path, data: bytes) -> Path:
    """Write ``data`` unless it is there; the directory's name is its digest."""
    if not path.exists():
        write_private(path, data)
    return path


def _modules(image: Path, name: str) -> Path | None:
    """Return the modules' directory, or None: then all that is needed must be built in."""
    folder = image.resolve().parent
    places = [folder, *(base / "lib/modules" / name for base in (folder, folder.parent, Path("/")))]
    found = [place for place in places if (place / "modules.order").exists() and place.name == name]
    if not found:
        return None
    if not (found[0] / "modules.dep").exists():
        raise TargetError(
            f"the modules in {str(found[0])!r} have no list of dependencies",
            hint=f"run: depmod -b {found[0].parents[2]} {name}",
        )
    return found[0]


def _config(image: Path, name: str) -> Path | None:
    folder = image.resolve().parent
    places = [folder / f"config-{name}", folder / "config", folder / ".config"]
    return next((place for place in places if place.is_file()), None)
