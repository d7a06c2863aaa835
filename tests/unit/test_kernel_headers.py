# SPDX-License-Identifier: MIT
"""Headers for modules: which packages, and what makes them work where they are put."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.errors import TargetError
from kpmagic.targets import debian, kernel_headers
from kpmagic.targets.debian import Package
from kpmagic.targets.kernels import Kernel

RELEASE = "6.1.0-50-amd64"


class Archive:
    """A suite's index with the packages of one kernel."""

    suite = "bookworm"

    def __init__(self, depends: dict[str, tuple[str, ...]]) -> None:
        self.depends = depends

    def show(self, name: str) -> Package | None:
        known = self.depends.get(name)
        return None if known is None else Package(name, "1", "linux", 1, known)


def test_the_packages_are_headers_kbuild_and_the_library_it_is_linked_with() -> None:
    archive = Archive({
        f"linux-headers-{RELEASE}": ("linux-headers-6.1.0-50-common", "linux-kbuild-6.1",
                                     "linux-compiler-gcc-12-x86"),
        "linux-headers-6.1.0-50-common": (),
        "linux-kbuild-6.1": ("libc6", "libelf1", "libssl3"),
        "linux-compiler-gcc-12-x86": ("gcc-12",),
        "libc6": (), "libelf1": (), "libssl3": (), "zlib1g": (), "libzstd1": (),
    })  # fmt: skip
    names = [each.name for each in kernel_headers.choose(archive, RELEASE)]  # type: ignore[arg-type]
    assert names == [f"linux-headers-{RELEASE}", "linux-headers-6.1.0-50-common",
                     "linux-kbuild-6.1", "libc6", "libelf1", "libzstd1"]  # fmt: skip


def test_headers_that_left_the_archive_are_named() -> None:
    with pytest.raises(TargetError, match=f"no longer has the headers of kernel '{RELEASE}'"):
        kernel_headers.choose(Archive({}), RELEASE)  # type: ignore[arg-type]


def unpacked(tree: Path) -> Path:
    """Return a tree as dpkg unpacks it, as far as relocation looks at it."""
    headers = tree / f"usr/src/linux-headers-{RELEASE}"
    kbuild = tree / "usr/lib/linux-kbuild-6.1"
    for folder in (headers / "include/generated", kbuild / "scripts/mod", kbuild / "tools/objtool",
                   tree / "lib/x86_64-linux-gnu"):  # fmt: skip
        folder.mkdir(parents=True)
    (headers / "Makefile").write_text("include /usr/src/linux-headers-6.1.0-50-common/Makefile\n")
    (headers / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{RELEASE}"\n')
    (tree / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").touch()
    (kbuild / "scripts/mod/modpost").write_bytes(b"dispatcher")
    (kbuild / "scripts/mod/modpost.real-lsb-64").write_bytes(b"modpost")
    (kbuild / "tools/objtool/objtool").write_bytes(b"\x7fELF /proc/self/maps\0 end")
    return kbuild


def test_relocated_makefiles_and_programs_name_their_place(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    unpacked(tree)
    kernel_headers.relocate(tree, home, RELEASE)
    tree.rename(home)
    folder = kernel_headers.build_folder(home, RELEASE)
    common = f"{home}/usr/src/linux-headers-6.1.0-50-common/Makefile"
    assert (folder / "Makefile").read_text() == f"include {common}\n"
    kbuild = home / "usr/lib/linux-kbuild-6.1"
    script = (kbuild / "scripts/mod/modpost").read_text()
    loader = f"{home}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert script.startswith(f"#!/bin/sh\nexec {loader} --library-path {home}/lib/")
    assert script.endswith(f'{kbuild}/scripts/mod/modpost.real-lsb-64 "$@"\n')
    real = (kbuild / "tools/objtool/objtool.real").read_bytes()
    assert real == b"\x7fELF kpmagic-stack\0\0\0 end"


def test_headers_of_another_kernel_are_refused(tmp_path: Path) -> None:
    unpacked(tmp_path)
    with pytest.raises(TargetError, match="are not those of kernel"):
        kernel_headers.build_folder(tmp_path, "6.1.0-49-amd64")


def test_a_cache_that_make_cannot_name_is_refused(tmp_path: Path) -> None:
    kernel = Kernel("6.1", RELEASE, tmp_path / "my cache", Path("vmlinux"), None, None)
    with pytest.raises(TargetError, match="KPMAGIC_CACHE"):
        kernel_headers.cache_place(kernel)


def test_leftovers_of_a_killed_fetch_are_swept_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel itself, or the headers of another, may be just fetched elsewhere."""
    made: list[Path] = []

    def killed(archive: debian.Suite) -> None:
        made.extend(each for each in tmp_path.iterdir() if each.is_dir())
        raise TargetError("killed")

    monkeypatch.setattr(debian.Suite, "update", killed)
    monkeypatch.setattr(kernel_headers.shutil, "rmtree", lambda *_, **__: None)
    kernel = Kernel("6.1", RELEASE, tmp_path / "6.1", Path("vmlinux"), None, None)
    with pytest.raises(TargetError, match="killed"):
        kernel_headers.find(kernel, print)
    (left,) = made
    monkeypatch.undo()
    others = [tmp_path / f".fetching-{each}-abc" for each in ("6.1", "headers-6.12")]
    for each in others:
        each.mkdir()
    (tmp_path / "6.1/headers").mkdir(parents=True)
    with pytest.raises(TargetError, match="are not those of kernel"):
        kernel_headers.find(kernel, print)
    assert not left.exists()
    assert all(each.exists() for each in others)


def test_a_kernel_of_the_users_needs_headers_of_its_own(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    build = modules / "build"
    (build / "include/generated").mkdir(parents=True)
    kernel = Kernel(str(tmp_path), "9.9.9-mine", tmp_path, tmp_path / "vmlinux", None, modules)
    with pytest.raises(TargetError, match=r"no headers of kernel '9\.9\.9-mine'"):
        kernel_headers.of_path(kernel)
    (build / "Module.symvers").touch()
    (build / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "9.9.9-mine"\n')
    assert kernel_headers.of_path(kernel) == build
