# SPDX-License-Identifier: MIT
"""The kernels the sandbox can boot: stock ones of the distribution, kept in the user's cache."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from kpmagic import cache
from kpmagic.errors import TargetError
from kpmagic.targets import kernel_fetch, kernel_image
from kpmagic.targets.base import Progress

DEFAULT = "6.1"

# version → the Debian suite that has it
SUITES = {
    "5.10": "bullseye",
    "6.1": "bookworm",
    "6.12": "trixie",
    "7.2": "sid",
}

DESCRIPTION = "kernel.json"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    ``version`` is what the user calls it (``6.1``, or a path), ``release`` what it calls itself
    (``6.1.0-50-amd64``). ``image`` is what QEMU boots, ``btf`` a file of the raw section.
    ``modules`` is as /lib/modules/RELEASE, with ``modules.dep``; None when all is built in.
    ``inline`` lists ``name<TAB>header`` of functions that exist only as ``static inline``.
    """

    version: str
    release: str
    directory: Path
    image: Path
    btf: Path | None
    modules: Path | None
    config: Path | None = None
    inline: Path | None = None


def fetched() -> list[Kernel]:
    """Return the stock kernels that are in the cache, oldest version first."""
    home = cache.directory("kernels")
    return [_load(home / version) for version in SUITES if (home / version / DESCRIPTION).exists()]


def remove(version: str, progress: Progress | None = None) -> int:
    """Remove a stock kernel and its headers from the cache; return the bytes they took.

    Whoever runs it must have ended. Raises TargetError.
    """
    home = cache.directory("kernels")
    have = [each for each in SUITES if (home / each).exists()]
    if version not in have:
        raise TargetError(
            f"no kernel {version!r} to remove",
            hint=f"fetched: {', '.join(have)}" if have else "none has been fetched",
        )
    with (
        kernel_fetch.locked(home, version, progress or _silent),
        kernel_fetch.locked(home, f"{version}-{kernel_fetch.HEADERS}", progress or _silent),
    ):
        taken = cache.size(home / version)
        kernel_fetch.sweep(home, f"{kernel_fetch.HEADERS}-{version}")
        kernel_fetch.remove(home, version)
    return taken


def find(version: str) -> Kernel:
    """Return a kernel by the user's name for it: a version, or a path. Raises TargetError."""
    if re.search(r"[/~]", version) or Path(version).is_file():
        return from_path(Path(version))
    _check(version)
    directory = cache.directory("kernels") / version
    if not (directory / DESCRIPTION).exists():
        raise TargetError(
            f"kernel {version!r} is not fetched yet",
            hint=f"%kp kernels fetch {version}    (or: python -m kpmagic kernels fetch {version})",
        )
    return _load(directory)


def fetch(version: str, progress: Progress | None = None) -> Kernel:
    """Fetch a stock kernel into the cache, unless it is there; return it.

    Raises TargetError, MissingDependency. An interrupted fetch leaves nothing behind.
    """
    _check(version)
    home = cache.directory("kernels")
    with kernel_fetch.locked(home, version, progress or _silent):
        kernel_fetch.sweep(home, version)
        if not (home / version / DESCRIPTION).exists():
            kernel_fetch.fetch(version, SUITES[version], home, progress or _silent)
    return _load(home / version)


def from_path(path: Path) -> Kernel:
    """Return a kernel the user has: a bzImage or vmlinux, or a directory that holds one.

    Its modules are looked for beside it and in /lib/modules/RELEASE. Raises TargetError.
    """
    try:
        image = path.expanduser()
    except RuntimeError as error:  # ~nobody, who has no home
        raise TargetError(f"no kernel at {str(path)!r}: {error}",
                          hint="give a bzImage or vmlinux") from None  # fmt: skip
    return Kernel(version=str(path), **kernel_image.examine(image))


def _check(version: str) -> None:
    if version not in SUITES:
        raise TargetError(
            f"no kernel {version!r} to choose",
            hint=f"versions: {', '.join(SUITES)}; or the path of a bzImage or vmlinux",
        )


def _load(directory: Path) -> Kernel:
    known = json.loads((directory / DESCRIPTION).read_text())
    return Kernel(
        version=directory.name,
        release=known["release"],
        directory=directory,
        image=directory / "vmlinux",
        btf=directory / "btf",
        modules=directory / "lib/modules" / known["release"],
        config=directory / "config",
        inline=directory / "inline.txt",
    )


def _silent(_: str) -> None:
    """Show no progress."""
