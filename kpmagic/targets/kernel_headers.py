# SPDX-License-Identifier: MIT
"""What modules of a kernel are built against: its headers and Kbuild, fetched like the kernel.

Debian's packages expect to lie under /usr: their Makefiles name it, and the programs of Kbuild are
linked with their own suite's C library. Here they lie in the cache: the Makefiles get the new
place, and the programs are started with that library, so that they run on an older host too.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from kpmagic.errors import TargetError
from kpmagic.targets import debian, kernel_fetch, kernels
from kpmagic.targets.base import Progress
from kpmagic.targets.bzimage import ANEW
from kpmagic.targets.kernel_fetch import HEADERS
from kpmagic.targets.kernels import Kernel

LOADER = "ld-linux-x86-64.so.2"
# the suite's C library, and what else the programs of Kbuild are linked with
LIBRARIES = ("libc6", "libelf1", "libelf1t64", "zlib1g", "libzstd1")
# programs of Kbuild a module's build runs, and what Debian calls the one for this machine
PROGRAMS = {
    "scripts/basic/fixdep": "",
    "scripts/genksyms/genksyms": "",
    "scripts/recordmcount": "",
    "scripts/mod/modpost": "scripts/mod/modpost.real-lsb-64",
    "tools/objtool/objtool": "tools/objtool/objtool.real-x86",
}
# objtool looks up where its stack is, in a file that a confined process cannot read: it is given
# another in its working directory, the module's folder (tools/objtool/signal.c, since Linux 7.0)
STACK = ("/proc/self/maps", "kpmagic-stack")
# make splits names at these, and a shell script holds the path
PLAIN_PATH = re.compile(r"[\w./+~@,-]+")


def find(kernel: Kernel, progress: Progress) -> Path:
    """Return the folder to build modules of ``kernel`` in (``make -C``), fetched if need be.

    Raises TargetError, MissingDependency.
    """
    if kernel.version not in kernels.SUITES:
        return of_path(kernel)
    home = cache_place(kernel)
    with kernel_fetch.locked(kernel.directory.parent, f"{kernel.version}-{HEADERS}", progress):
        kernel_fetch.sweep(kernel.directory.parent, f"{HEADERS}-{kernel.version}")
        if not home.exists():
            _fetch(kernel, home, progress)
    return build_folder(home, kernel.release)


def cache_place(kernel: Kernel) -> Path:
    """Return where a stock kernel's headers are kept. Raises TargetError."""
    home = kernel.directory / HEADERS
    if not PLAIN_PATH.fullmatch(str(home)):
        raise TargetError(
            f"modules cannot be built in {str(home)!r}: make splits such a name",
            hint="set KPMAGIC_CACHE to a folder without blanks and special characters in its name",
        )
    return home


def of_path(kernel: Kernel) -> Path:
    """Return the build folder that lies beside a kernel the user has. Raises TargetError."""
    places = [Path("/lib/modules", kernel.release, "build"), Path(kernel.version).expanduser()]
    if kernel.modules is not None:
        places.insert(0, kernel.modules / "build")
    for place in places:
        if (place / "Module.symvers").is_file() and release_of(place) == kernel.release:
            return place.resolve()
    raise TargetError(
        f"no headers of kernel {kernel.release!r} to build a module against",
        hint=f"looked in {', '.join(map(str, places))}\n"
        f"sudo apt-get install linux-headers-{kernel.release}",
    )


def release_of(folder: Path) -> str:
    """Return the release of the kernel that a build folder belongs to, or ``""``."""
    try:
        text = (folder / "include/generated/utsrelease.h").read_text()
    except OSError:
        return ""
    match = re.search(r'UTS_RELEASE "([^"]+)"', text)
    return match[1] if match else ""


def build_folder(home: Path, release: str) -> Path:
    """Return the build folder in unpacked packages. Raises TargetError."""
    folder = home / f"usr/src/linux-headers-{release}"
    if release_of(folder) != release:
        raise TargetError(
            f"the headers in {str(home)!r} are not those of kernel {release!r}",
            hint=f"remove that folder; the next cell fetches the headers of {release}",
        )
    return folder


def _fetch(kernel: Kernel, home: Path, progress: Progress) -> None:
    """Make ``home``, in one step at the end."""
    parent = kernel.directory.parent
    prefix = f"{kernel_fetch.TEMPORARY}{HEADERS}-{kernel.version}-"
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        (work / "apt").mkdir()
        archive = debian.Suite(kernels.SUITES[kernel.version], work / "apt")
        progress(f"reading the package index of Debian {archive.suite}")
        archive.update()
        packages = choose(archive, kernel.release)
        tree = work / "tree"
        _download(archive, packages, tree, progress)
        relocate(tree, home, kernel.release)
        tree.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(
    archive: debian.Suite, packages: list[debian.Package], tree: Path, progress: Progress
) -> None:
    size = sum(package.size for package in packages)
    what = f"downloading {packages[0].name} ({size / 1e6:.0f} MB)"
    progress(what)
    for file in archive.download(packages, lambda now: progress(f"{what}: {now} %")):
        debian.unpack(file, tree)


def choose(archive: debian.Suite, release: str) -> list[debian.Package]:
    """Return the packages to build modules of ``release`` with. Raises TargetError."""
    headers = archive.show(f"linux-headers-{release}")
    if headers is None:
        raise TargetError(
            f"Debian {archive.suite!r} no longer has the headers of kernel {release!r}",
            hint=f"fetch a kernel whose headers are there: {ANEW}",
        )
    needed = [name for name in headers.depends if re.match(r"linux-(headers|kbuild)-", name)]
    found = [package for name in needed if (package := archive.show(name)) is not None]
    linked = {name for package in found for name in package.depends} | {"libzstd1"}
    libraries = [archive.show(name) for name in LIBRARIES if name in linked]
    return [headers, *found, *(library for library in libraries if library is not None)]


def relocate(tree: Path, home: Path, release: str) -> None:
    """Make unpacked packages work at ``home``, where they will be moved."""
    makefile = tree / f"usr/src/linux-headers-{release}/Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{home}/usr/src/"))
    loader = next((each for each in sorted(tree.rglob(LOADER))), None)
    kbuild = next(iter(tree.glob("usr/lib/linux-kbuild-*")), None)
    if loader is None or kbuild is None:
        raise TargetError(f"the packages for modules of {release!r} lack Kbuild's programs or "
                          "their C library", hint="please report this")  # fmt: skip
    folders = [tree / "lib/x86_64-linux-gnu", tree / "usr/lib/x86_64-linux-gnu"]
    library_path = ":".join(str(home / each.relative_to(tree)) for each in folders)
    start = f"{home / loader.relative_to(tree)} --library-path {library_path}"
    for program, real in PROGRAMS.items():
        _start_with(start, kbuild / program, kbuild / (real or "-"), tree, home)


def _start_with(start: str, program: Path, real: Path, tree: Path, home: Path) -> None:
    """Put in place of ``program`` a script that starts it with its own library."""
    if not program.exists():
        return
    if not real.exists():
        real = program.rename(program.with_name(f"{program.name}.real"))
    program.unlink(missing_ok=True)
    theirs, ours = (name.encode() + b"\0" for name in STACK)
    real.write_bytes(real.read_bytes().replace(theirs, ours.ljust(len(theirs), b"\0")))
    program.write_text(f'#!/bin/sh\nexec {start} {home / real.relative_to(tree)} "$@"\n')
    program.chmod(0o755)
