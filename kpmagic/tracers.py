# SPDX-License-Identifier: MIT
"""Other tracers as programs of a target: what installs them, how old they may be, BCC's words."""

from __future__ import annotations

import re
from collections.abc import Callable

from .agent import bcc
from .channel.refusals import ToolRefusal
from .errors import (
    AttachError,
    BuildError,
    KpmagicError,
    MissingDependency,
    Place,
    VerifierError,
)

PACKAGES = {"bpftrace": "bpftrace", "bcc": "python3-bpfcc", "/usr/bin/python3": "python3-bpfcc"}
OLDEST = {"bpftrace": (0, 12), "bcc": bcc.OLDEST}  # -f json with all that peers.output reads
# what the user has written, as clang calls it; handlers.CELL is a probe's body
ERROR = re.compile(
    r"^(?:/virtual/main\.c|cell):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.*)",
    re.MULTILINE,
)
MOST = 8  # lines of its words that are shown

Locate = Callable[[int, int], Place]
"""Called with line and column of the user's text."""


def missing(tool: str, where: str) -> MissingDependency:
    """Return the error that says what to install."""
    install = f"sudo apt-get install {PACKAGES[tool]}"
    here = "here: the sandbox runs this machine's programs" if where == "sandbox" else f"on {where}"
    return MissingDependency(f"{tool} is not installed on {where}", hint=f"{install}   ({here})")


def too_old(tool: str, version: str, where: str) -> MissingDependency:
    """Return the error that says what is needed."""
    oldest = ".".join(map(str, OLDEST[tool]))
    return MissingDependency(
        f"{tool} on {where} is too old: {version.strip()}, needed is {oldest} or newer",
        hint=f"sudo apt-get install -t NEWER_SUITE {PACKAGES[tool]}",
    )


def is_old(tool: str, text: str) -> bool:
    """Whether what a tool says of its version is less than is needed; unknown is not."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST[tool]


def of_bcc(
    refusal: ToolRefusal, locate: Locate, where: str, shown: Callable[[str], str] = str
) -> KpmagicError:
    """Return what clang, the kernel, or BCC's Python said; the last line is that of agent/bcc.py.

    ``shown`` puts the cell's lines into its words.
    """
    *before, last = refusal.log.strip().splitlines() or [refusal.message]
    words = last.removeprefix("kpmagic: ")
    if refusal.code == bcc.MISSING:
        return missing("bcc", where)
    if refusal.code == bcc.OLD:
        return too_old("bcc", words, where)
    if refusal.code == bcc.BROKEN:
        return MissingDependency(f"bcc on {where} cannot be imported: {words}",
                                 hint=f"sudo apt-get install --reinstall {PACKAGES['bcc']}")
    found = ERROR.search(refusal.log)
    if found is not None:
        more = len(ERROR.findall(refusal.log)) - 1
        place = locate(int(found["line"]), int(found["column"]))
        return BuildError(found["text"] + (f"; {more} more" if more else ""), place=place)
    errors = [line for line in before if "error:" in line]
    text = "\n".join(map(shown, [*(errors or before)[-MOST:], words]))
    if "Failed to load BPF program" in words:
        return VerifierError(text)
    if "Failed to attach" in words:
        return AttachError(text, hint="%kp symbols 'GLOB' lists what there is")
    return BuildError(text)
