# SPDX-License-Identifier: MIT
"""Kbuild: C files and a Makefile become a kernel module, in a confined process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kpmagic.compiler import kbuild_steps
from kpmagic.compiler.confine import unsafe
from kpmagic.compiler.kbuild_steps import RECORDER, RECORDING, Step
from kpmagic.compiler.kbuild_work import working
from kpmagic.compiler.kbuild_worker import UNCONFINED
from kpmagic.errors import BuildError, MissingDependency

SECONDS = 120.0
MOST = 8  # lines of its words that are shown
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
INSTALL = "sudo apt-get install gcc make"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
NEWEST_GCC, OLDEST_GCC = 20, 8
BYTE_COLUMNS = 11  # the first gcc that does not count a tab as eight
# what a kernel's configuration asks of gcc, and the first gcc that can do it
GCC_OPTIONS = {"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT": 14}

# hello.c:12:5: error: …, with any folders before it; objtool's and modpost's have other forms
_DIAGNOSTIC = re.compile(
    r"^(?:.*/)?(?P<file>[^/:\s]+):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<kind>(?:fatal )?error|warning): (?P<text>.*)$"
)
_UNDEFINED = re.compile(r'^ERROR: modpost: (?:GPL-incompatible module )?.*?"(\w+)".* undefined!')


@dataclass(frozen=True)
class Kbuild:
    """A kernel's build folder, and the gcc to build with."""

    folder: Path
    gcc: str
    version: str

    @property
    def readable(self) -> list[Path]:
        """Folders that Kbuild needs besides the system's: that of the headers and their like."""
        installed = any(self.folder.is_relative_to(each) for each in READABLE)
        return [] if installed else [self.folder.parents[2]]

    @property
    def settings(self) -> list[str]:
        """Make's variables: the compiler, and what of the configuration it cannot do."""
        major = int(self.version.partition(".")[0] or 0)
        missing = [f"{name}=" for name, first in GCC_OPTIONS.items() if major < first]
        # older than the kernel's own compiler, it warns of attributes in the kernel's headers
        flags = ["-Wno-attributes"] * bool(missing)
        flags += ["-fdiagnostics-column-unit=byte"] * (major >= BYTE_COLUMNS)
        # types of the module itself need pahole, and nobody asks for them
        return [f"CC={self.gcc}", f"HOSTCC={self.gcc}", "CROSS_COMPILE=", *missing,
                "CONFIG_DEBUG_INFO_BTF_MODULES=", f"KCFLAGS={' '.join(flags)}"]  # fmt: skip


@dataclass(frozen=True)
class Diagnostic:
    """What gcc said of a place: 1-based ``line`` of ``file``; ``column`` 0 when not known."""

    file: str
    line: int
    column: int
    is_error: bool
    text: str


class KbuildFailed(BuildError):
    """Kbuild ended with an error; ``log`` is all it said."""

    def __init__(self, message: str, log: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


@dataclass(frozen=True)
class Built:
    """A module as ``insmod`` takes it, and all that Kbuild said."""

    object: bytes
    log: str


@cache
def find_gcc(wanted: str) -> tuple[str, str]:
    """Return the path and version of a gcc, best that of the major version ``wanted``.

    Raises MissingDependency.
    """
    majors = range(NEWEST_GCC, OLDEST_GCC - 1, -1)
    for name in (f"gcc-{wanted}", "gcc", *(f"gcc-{major}" for major in majors)):
        found = shutil.which(name, path=PATH)
        if found is not None:
            done = subprocess.run([found, "-dumpfullversion"], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False)  # fmt: skip
            return found, done.stdout.strip()
    raise MissingDependency("no gcc to build a kernel module with", hint=INSTALL)


def kbuild_in(folder: Path) -> Kbuild:
    """Return Kbuild in a kernel's build folder. Raises MissingDependency."""
    for program, package in (("make", "make"), ("ld", "binutils")):
        if shutil.which(program, path=PATH) is None:
            raise MissingDependency(f"{program!r} is not installed: Kbuild needs it",
                                    hint=f"sudo apt-get install {package}")  # fmt: skip
    try:
        config = (folder / "include/config/auto.conf").read_text()
    except OSError:
        config = ""
    match = re.search(r"CONFIG_GCC_VERSION=(\d+)", config)
    program, version = find_gcc(str(int(match[1]) // 10000) if match else "")
    return Kbuild(folder, program, version)


def build(kbuild: Kbuild, name: str, files: Mapping[str, str], types: Path | None) -> Built:
    """Return the module ``name`` made of ``files`` (name → text), one of them a Makefile.

    ``types`` is the folder of a vmlinux.h, which their Makefile calls KPMAGIC_TYPES.
    Raises BuildError, NotPermitted.
    """
    given = [*([] if types is None else [f"KPMAGIC_TYPES={types}"]), *kbuild.settings]
    place = kbuild_steps.place(kbuild.folder, kbuild.version, *given)
    readable = [*kbuild.readable, *([] if types is None else [types])]
    known = kbuild_steps.read(place)
    if known is not None:
        with working(files) as work:
            code, log = _run(known.at(str(work)), work, readable)
            if not code or _is_the_module_s(log):
                return _built(work, name, code, log)
    with working(files) as work:  # nothing is known, or is no longer as it was
        (work / RECORDER).write_text(RECORDING)
        code, log = _run([_whole(kbuild, work, given)], work, readable)
        if not code and (found := kbuild_steps.noted(work)) is not None:
            with suppress(OSError):  # without room the next build begins from the beginning too
                kbuild_steps.write(place, found)
        return _built(work, name, code, log)


def _is_the_module_s(log: str) -> bool:
    """Whether gcc or modpost say what is wrong: a build from the beginning would say the same."""
    return bool(undefined(log)) or any(each.is_error for each in diagnostics(log))


def _built(work: Path, name: str, code: int, log: str) -> Built:
    """Return what was built. Raises BuildError, NotPermitted."""
    log = log.replace(f"{work}/", "")
    if code == UNCONFINED:
        raise unsafe()
    if code:
        raise KbuildFailed(last_words(log), log)
    return Built((work / f"{name}.ko").read_bytes(), log)


def _whole(kbuild: Kbuild, work: Path, given: list[str]) -> Step:
    """Return the one step that is Kbuild from its beginning, noting those it starts."""
    arguments = ("-s", "-C", str(kbuild.folder), f"M={work}", f"MAKE=/bin/sh {work / RECORDER}",
                 *given, "modules")  # fmt: skip
    environment = {"PATH": PATH, "LC_ALL": "C", "TMPDIR": str(work), "KPMAGIC_MAKE": _make()}
    return Step(str(work), arguments, environment)


def _make() -> str:
    return shutil.which("make", path=PATH) or "make"


def _run(steps: list[Step], work: Path, readable: list[Path]) -> tuple[int, str]:
    """Take steps until one fails; return its exit code and what all said.

    Raises BuildError when they take too long.
    """
    worker = [sys.executable, "-I", "-m", "kpmagic.compiler.kbuild_worker", str(os.getpid()),
              str(work), *READABLE, *map(str, readable)]  # fmt: skip
    told = json.dumps([[step.folder, [_make(), "-j2", *step.arguments], step.environment]
                       for step in steps])  # fmt: skip
    process = subprocess.Popen(
        worker, cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, env={"PATH": PATH, "LC_ALL": "C"},
    )  # fmt: skip
    try:
        output, _ = process.communicate(told.encode(), timeout=SECONDS)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildError(
                f"Kbuild took longer than {SECONDS:.0f} s and was stopped",
                hint="run the cell again when this machine is less busy",
            ) from None
        raise
    return process.returncode, output.decode("utf-8", errors="replace")


def diagnostics(log: str) -> list[Diagnostic]:
    """Return what gcc said of places, errors first."""
    found = [Diagnostic(match["file"], int(match["line"]), int(match["column"] or 0),
                        "error" in match["kind"], match["text"])
             for match in map(_DIAGNOSTIC.match, log.splitlines()) if match]  # fmt: skip
    return sorted(found, key=lambda each: not each.is_error)


def last_words(log: str) -> str:
    """Return the last lines said before make repeats that it failed."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("make")]
    return "\n".join(lines[-MOST:]) or "Kbuild failed and said nothing"


def undefined(log: str) -> list[str]:
    """Return the names that modpost found nowhere."""
    return [match[1] for match in map(_UNDEFINED.match, log.splitlines()) if match]
