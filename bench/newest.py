# SPDX-License-Identifier: MIT
"""The newest bpftrace that Debian has, in build/bench beside the release's own.

Its packages come with all libraries they name, C library and loader included, so that it runs on
an older release: the loader is started with their folders and loads the program.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import BUILT

from kpmagic.errors import KpmagicError
from kpmagic.targets.debian import Package, Suite, unpack
from kpmagic.targets.kernel_headers import LOADER

SUITE, PROGRAM = "sid", "usr/bin/bpftrace"
FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
HOME = BUILT / f"bpftrace-{SUITE}"
VERSION = "version"


def bpftrace() -> tuple[str, str]:
    """Return what a shell starts the newest bpftrace with, and its version.

    Raises KpmagicError where the packages cannot be fetched.
    """
    if not (HOME / VERSION).exists():
        _fetch()
    loader = next(HOME.rglob(LOADER), None)
    if loader is None or not (HOME / PROGRAM).exists():
        raise KpmagicError(f"no {PROGRAM}, or no {LOADER}, in {HOME}", hint=f"rm -r {HOME}")
    folders = ":".join(str(HOME / folder) for folder in FOLDERS)
    version = (HOME / VERSION).read_text()
    return f"{loader} --library-path {folders} {HOME / PROGRAM}", version


def _fetch() -> None:
    """Make ``HOME``, in one step at the end: 70 MB to fetch."""
    with tempfile.TemporaryDirectory(dir=BUILT, prefix="newest-") as folder:
        archive = Suite(SUITE, Path(folder, "apt"))
        archive.directory.mkdir()
        archive.update()
        packages = list(_needed(archive))
        tree = Path(folder, "tree")
        for file in archive.download(packages, lambda now: None):
            unpack(file, tree)
        (tree / VERSION).write_text(packages[0].version.partition("-")[0])
        shutil.rmtree(HOME, ignore_errors=True)
        tree.rename(HOME)


def _needed(archive: Suite) -> Iterator[Package]:
    """Yield bpftrace's package, then each library that one of them names."""
    names = ["bpftrace"]
    for name in names:
        package = archive.show(name)
        if package is not None:
            yield package
            names += {each for each in package.depends if each.startswith(("lib", "zlib"))} \
                - set(names)  # fmt: skip
