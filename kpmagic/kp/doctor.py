# SPDX-License-Identifier: MIT
"""What works here, and the exact command that mends what does not."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kpmagic import cache
from kpmagic.compiler import confine, toolchain
from kpmagic.errors import KpmagicError, MissingDependency
from kpmagic.kp import doctor_kernel
from kpmagic.targets import commands, kernels

SPACE_NEEDED = 2 << 30  # a fetched kernel has some 600 MB, and as much while it is unpacked
OPTIONAL = ("polars",)


@dataclass(frozen=True)
class Check:
    """One finding. ``ok`` is None where it is a remark and neither good nor bad.

    ``mend`` is the command that mends it, ``""`` where nothing is to be done.
    """

    name: str
    ok: bool | None
    found: str
    mend: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "no", None: "--"}[self.ok]
        mend = f"\n      mend: {self.mend}" if self.mend else ""
        return f"{mark}  {self.name}: {self.found}{mend}"


def checks(connection: doctor_kernel.Connection | None = None) -> list[Check]:
    """Return what is found on this machine, and on the connected target's kernel if any."""
    found = [check for make in MACHINE for check in make()]
    if connection is None:
        return found
    try:
        for finding in doctor_kernel.findings(connection):
            found.append(Check(*finding))
    except KpmagicError as error:  # it goes meanwhile, which is a finding
        found.append(Check("target", False, error.message, error.hint))
    return found


def install(package: str) -> str:
    """Return the command that installs a package of the distribution."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install --no-install-recommends {package}"


def python() -> Iterator[Check]:
    found = f"{platform.python_version()} ({sys.executable})"
    enough = sys.version_info >= (3, 11)
    yield Check("python", enough, found, "" if enough else install("python3 python3-venv"))


def clang() -> Iterator[Check]:
    """clang and its own libclang; the packages are those of the error's hint."""
    try:
        found = toolchain.find_clang()
    except MissingDependency as error:
        best = toolchain.NEWEST
        yield Check("clang", False, error.message, install(f"clang-{best} libclang1-{best}"))
    else:
        yield Check("clang", True, f"{found.version} ({found.program}, {found.library})")


def landlock() -> Iterator[Check]:
    """What keeps clang and gcc from files that are not theirs."""
    version = confine.landlock()
    if version:
        yield Check("landlock", True, f"version {version}: compilers see their own folders only")
    elif os.geteuid() == 0:
        yield Check("landlock", False, "not in this kernel: no module is compiled as root",
                    "run the notebook as an ordinary user")  # fmt: skip
    else:
        yield Check("landlock", None, "not in this kernel: compilers could read your files")


def bpftool() -> Iterator[Check]:
    """bpftool; Ubuntu's may be a script that finds nothing for the running kernel."""
    path = which("bpftool")
    version = "" if path is None else _version(path)
    found = f"{version} ({path})" if version else "not found" if path is None else f"{path} fails"
    yield Check("bpftool", bool(version), found, "" if version else install("bpftool"))


def programs() -> Iterator[Check]:
    """The programs of the distribution that fetching and booting a kernel need."""
    for program, package in commands.PACKAGES.items():
        path = which(program)
        version = "" if path is None else _version(path)
        found = "not found" if path is None else f"{version} ({path})".strip()
        yield Check(program, path is not None, found, "" if path else install(package))


def which(program: str) -> str | None:
    """Return a program's path, or None."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *commands.SYSTEM))
    return shutil.which(program, path=path)


def _version(path: str) -> str:
    """Return the first number with a dot that ``PROGRAM --version`` prints, or ``""``."""
    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=10, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d[\w.]*", done.stdout or done.stderr)
    return match[0] if match else ""


def libbpf() -> Iterator[Check]:
    """libbpf.so.1, which the agent loads in the sandbox from the host's own files."""
    name = ctypes.util.find_library("bpf")
    good = name is not None and name.endswith(".so.1")
    yield Check("libbpf", good, name or "not found", "" if good else install("libbpf1"))


def kvm() -> Iterator[Check]:
    if not os.path.exists("/dev/kvm"):
        yield Check("kvm", None, "no /dev/kvm: the sandbox runs by emulation, which is slower")
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        yield Check("kvm", None, "/dev/kvm is not yours to open: the sandbox runs by emulation",
                    "sudo adduser $USER kvm    (then log in again)")  # fmt: skip
    else:
        yield Check("kvm", None, "/dev/kvm opens: used if a kernel truly boots with it")


def cached() -> Iterator[Check]:
    """The cache directory, what is in it, and the room for more."""
    home = cache.directory()
    private = stat.S_IMODE(home.stat().st_mode) & 0o077 == 0
    found = f"{home} ({cache.size(home) / 1e6:,.0f} MB)"
    yield Check("cache", private, found, "" if private else f"chmod 700 {home}")
    free = shutil.disk_usage(home).free
    yield Check("disk space", free >= SPACE_NEEDED, f"{free / 1e9:,.1f} GB free", "" if
                free >= SPACE_NEEDED else "python -m kpmagic clean")  # fmt: skip
    names = [f"{kernel.version} ({kernel.release})" for kernel in kernels.fetched()]
    mend = "" if names else f"python -m kpmagic kernels fetch {kernels.DEFAULT}"
    yield Check("kernels", bool(names), ", ".join(names) or "none fetched yet", mend)


def packages() -> Iterator[Check]:
    """Python packages that kpmagic uses where they are installed."""
    for name in OPTIONAL:
        try:
            yield Check(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, None, "not installed: run.df(engine=\"polars\") needs it",
                        f"{sys.executable} -m pip install {name}")  # fmt: skip


MACHINE: tuple[Callable[[], Iterator[Check]], ...] = (
    python, clang, landlock, bpftool, programs, libbpf, kvm, cached, packages,
)  # fmt: skip
