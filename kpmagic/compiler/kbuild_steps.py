# SPDX-License-Identifier: MIT
"""What Kbuild does for a module, learned once for a kernel and done again for each.

Kbuild's top Makefile asks gcc some thirty times what it can do, sets variables, and then starts
make anew on scripts/Makefile.build, .modpost and .modfinal, each of which finds all it needs in its
environment. Those starts are the same for each module of a kernel but for the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from kpmagic import cache
from kpmagic.whole import keep, kept

RECORD = "kpmagic-steps"
# What stands for make in the top Makefile: notes the first start on one of scripts/, and is make
RECORDER = "kpmagic-make"
RECORDING = f"""\
folder=${{0%/*}}
case "${{KPMAGIC_STEP-}} $*" in
" "*-f\\ */scripts/Makefile.*)
    export KPMAGIC_STEP=noted
    {{ printf '%s\\0' "$PWD" $# "$@"; env -0; printf '\\0'; }} >> "$folder/{RECORD}"
esac
exec "$KPMAGIC_MAKE" "$@"
"""
OF_ONE_START = ("KPMAGIC_STEP", "KPMAGIC_MAKE", "MAKE", "MFLAGS", "_")
_WORD = re.compile(r"(?<!\\) ")
_FLAGS_OF_ONE_START = ("-j", "--jobserver", "MAKE=")


@dataclass(frozen=True)
class Step:
    """A start of make: where, with which arguments, in which environment."""

    folder: str
    arguments: tuple[str, ...]
    environment: dict[str, str]

    def moved(self, old: str, new: str) -> Step:
        """Return it for another folder of a module."""
        return Step(
            self.folder.replace(old, new),
            tuple(word.replace(old, new) for word in self.arguments),
            {name: value.replace(old, new) for name, value in self.environment.items()},
        )


@dataclass(frozen=True)
class Steps:
    """Those of one module, that was built in the folder ``work``."""

    work: str
    steps: tuple[Step, ...]

    def at(self, work: str) -> list[Step]:
        """Return those of a module that is built in another folder."""
        return [each.moved(self.work, work) for each in self.steps]


def noted(work: Path) -> Steps | None:
    """Return what was noted while a module was built in ``work``, None when nothing usable was."""
    try:
        return Steps(str(work), tuple(_steps((work / RECORD).read_text().split("\0"))))
    except (FileNotFoundError, ValueError):
        return None


def _steps(words: list[str]) -> Iterator[Step]:
    """Yield what RECORDING wrote. Raises ValueError."""
    at = 0
    while at + 1 < len(words):
        count = int(words[at + 1])
        end = words.index("", at + 2 + count)
        arguments = tuple(words[at + 2 : at + 2 + count])
        yield Step(words[at], arguments, _environment(words[at + 2 + count : end]))
        at = end + 1


def _environment(lines: list[str]) -> dict[str, str]:
    """Return an environment without what is of that one start of make."""
    found = dict(line.split("=", 1) for line in lines)
    for name in OF_ONE_START:
        found.pop(name, None)
    flags = [word for word in _WORD.split(found.get("MAKEFLAGS", ""))
             if not word.startswith(_FLAGS_OF_ONE_START)]  # fmt: skip
    return found | {"MAKEFLAGS": " ".join(flags)}


def read(path: Path) -> Steps | None:
    """Return kept steps, None if there are none or they are damaged."""
    text = kept(path)
    if text is None:
        return None
    work, steps = json.loads(text)
    return Steps(work, tuple(Step(folder, tuple(words), env) for folder, words, env in steps))


def write(path: Path, steps: Steps) -> None:
    """Keep steps. Raises OSError."""
    keep(path, json.dumps(astuple(steps)).encode())


def place(folder: Path, compiler: str, *given: str) -> Path:
    """Return where the steps of a kernel's build folder are kept.

    ``compiler`` is its version: a newer one may have the same path. ``given`` is what make is.
    """
    found = (folder / "include/config/auto.conf", folder / "Makefile", folder / "Module.symvers")
    words = [str(folder), compiler, *given]
    for path in found:  # other headers in the same folder are another kernel
        stat = path.stat() if path.exists() else None
        words.append(f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}" if stat else "")
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()
    return cache.directory("kbuild") / digest
