# SPDX-License-Identifier: MIT
"""A stock kernel from the archive into the cache: fetched, unpacked, reduced to what is used."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kpmagic.errors import TargetError
from kpmagic.targets import bzimage, commands, debian, inline
from kpmagic.targets.base import Progress

FLAVOUR = "amd64"
TEMPORARY = ".fetching-"
HEADERS = "headers"


@contextmanager
def locked(home: Path, version: str, progress: Progress) -> Iterator[None]:
    """Hold, after waiting, the lock of a fetch of ``version``. Raises TargetError."""
    with open(home / f".{version}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another fetch of Linux {version}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise TargetError(
                f"{str(home)!r} is on a file system where nothing can be locked: {error.strerror}",
                hint="KPMAGIC_CACHE=DIRECTORY puts the cache on another, such as a local disk",
            ) from None
        yield


def sweep(home: Path, version: str) -> None:
    """Remove what a fetch that was killed left; the lock is held."""
    for left in home.glob(f"{TEMPORARY}{version}-*"):
        shutil.rmtree(left)


def remove(home: Path, version: str) -> None:
    """Remove ``home/version``, for others at once; the lock is held."""
    sweep(home, version)
    with suppress(FileNotFoundError):  # somebody else had the lock before
        (home / version).rename(home / f"{TEMPORARY}{version}-removed")
    sweep(home, version)


def fetch(version: str, suite: str, home: Path, progress: Progress) -> None:
    """Make ``home/version``; the lock is held. Raises TargetError, MissingDependency."""
    for program in ("apt-get", "dpkg", "depmod", "setpriv"):
        commands.find(program)
    work = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{version}-", dir=home))
    try:
        archive = debian.Suite(suite, work / "apt")
        (work / "apt").mkdir()
        progress(f"reading the package index of Debian {suite}")
        archive.update()
        packages = choose(archive, version)
        tree = work / "tree"
        _download(archive, packages, tree, progress)
        progress(f"unpacking Linux {version}")
        kernel = work / "kernel"
        release = assemble(tree, kernel, [f"{each.name} {each.version}" for each in packages])
        _depmod(kernel, release)
        kernel.rename(home / version)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def choose(archive: debian.Suite, version: str) -> list[debian.Package]:
    """Return the packages that make the newest kernel ``version``. Raises TargetError."""
    prefix = f"linux-image-{version}."
    names = [name for name in archive.names(prefix) if is_stock(name)]
    shown = [package for name in names if (package := archive.show(name)) is not None]
    if not shown:
        stock = " ".join(name for name in archive.names("linux-image-") if is_stock(name))
        others = ", ".join(sorted(set(re.findall(r"linux-image-(\d+\.\d+)", stock))))
        raise TargetError(
            f"Debian {archive.suite!r} has no kernel {version!r} now, only {others}",
            hint="%kp kernels lists the versions that can be fetched",
        )
    newest = max(shown, key=lambda package: _number(package.version))
    return [*_closure(archive, newest), *_headers(archive, newest)]


def is_stock(name: str) -> bool:
    """Tell whether a package is the plain signed kernel, not a flavour of it."""
    plain = name.endswith(f"-{FLAVOUR}")
    return plain and not re.search(r"-(cloud|rt)-amd64$|unsigned", name)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _closure(archive: debian.Suite, first: debian.Package) -> list[debian.Package]:
    """Follow dependencies through packages built from the kernel's own source."""
    found = {first.name: first}
    waiting = [first]
    while waiting:
        for name in waiting.pop().depends:
            if not name.startswith("linux-") or name in found:
                continue
            package = archive.show(name)
            # linux-base has scripts only, and a source of its own
            if package is not None and package.source in ("linux", "linux-signed-amd64"):
                found[name] = package
                waiting.append(package)
    return list(found.values())


def _headers(archive: debian.Suite, image: debian.Package) -> list[debian.Package]:
    """Return the package of headers common to all flavours, which names inline functions."""
    name = image.name.replace("-image-", "-headers-").removesuffix(f"-{FLAVOUR}") + "-common"
    package = archive.show(name)
    return [] if package is None else [package]


def _download(
    archive: debian.Suite, packages: list[debian.Package], tree: Path, progress: Progress
) -> None:
    size = sum(package.size for package in packages)
    what = f"downloading {packages[0].name} ({size / 1e6:.0f} MB)"
    progress(what)
    files = archive.download(packages, lambda now: progress(f"{what}: {now} %"))
    for file in files:
        debian.unpack(file, tree)
        file.unlink()


def assemble(tree: Path, kernel: Path, packages: list[str]) -> str:
    """Make ``kernel`` from the unpacked packages in ``tree``; return its release."""
    modules = next(iter([*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*")]), None)
    if modules is None:
        raise TargetError(f"no modules in {', '.join(packages)!r}", hint="please report this")
    release = modules.name
    elf = bzimage.vmlinux(_file(tree, modules, "vmlinuz").read_bytes())
    btf = bzimage.section(elf, ".BTF")
    if btf is None:
        raise TargetError(f"kernel {release!r} has no BTF", hint="please report this")
    kernel.mkdir(mode=0o700)
    (kernel / "vmlinux").write_bytes(elf)
    (kernel / "btf").write_bytes(btf)
    shutil.copyfile(_file(tree, modules, "config"), kernel / "config")
    inline.write(_inline_functions(tree), kernel / "inline.txt")
    (kernel / "lib/modules").mkdir(parents=True)
    modules.rename(kernel / "lib/modules" / release)
    description = {"release": release, "packages": packages}
    (kernel / "kernel.json").write_text(json.dumps(description, indent=1))
    return release


def _file(tree: Path, modules: Path, name: str) -> Path:
    """Return vmlinuz or config: in /boot with the release, or among the modules since 7.0."""
    in_boot = tree / "boot" / f"{name}-{modules.name}"
    return in_boot if in_boot.exists() else modules / name


def _inline_functions(tree: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for headers in tree.glob("usr/src/linux-headers-*-common"):
        found |= inline.index(headers)
    return found


def _depmod(kernel: Path, release: str) -> None:
    done = commands.run("depmod", "-b", str(kernel), release)
    if done.returncode or not os.path.getsize(kernel / f"lib/modules/{release}/modules.dep"):
        raise TargetError(f"depmod failed: {done.stderr.strip()}", hint="please report this")
