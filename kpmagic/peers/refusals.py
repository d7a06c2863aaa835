# SPDX-License-Identifier: MIT
"""Why another tracer did not start, in its own words, at the cell's line."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..agent import bcc
from ..errors import AttachError, BuildError, KpmagicError, MissingDependency, VerifierError
from ..refusals import ToolRefusal
from .script import Script

PACKAGES = {"bpftrace": "bpftrace", "bcc": "python3-bpfcc", "/usr/bin/python3": "python3-bpfcc"}
OLDEST = {"bpftrace": (0, 12), "bcc": (0, 18)}  # -f json with all that peers.output reads
# stdin:1:34-37: ERROR: Unknown identifier: 'foo'; lines of several places are 1-3
BPFTRACE = re.compile(
    r"^stdin:(?P<line>\d+)(?:-\d+)?(?::(?P<column>\d+))?[^:]*: ERROR: (?P<text>.*)", re.MULTILINE
)
NOT_ATTACHED = re.compile(r"Error attaching probe: '(?P<probe>[^']+)'")
TOO_OLD = re.compile(r"(?:invalid|unrecognized|unknown) option", re.I)
VIRTUAL = re.compile(r"/virtual/main\.c:(\d+)")
MAIN_C = re.compile(
    r"^/virtual/main\.c:(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.*)", re.MULTILINE
)
MOST = 8  # lines of its words that are shown

Version = Callable[[], str]


def missing(tool: str, where: str) -> MissingDependency:
    """Return the error that says what to install."""
    install = f"sudo apt-get install {PACKAGES[tool]}"
    here = "here: the sandbox runs this machine's programs" if where == "sandbox" else f"on {where}"
    return MissingDependency(f"{tool} is not installed on {where}", hint=f"{install}   ({here})")


def explain(refusal: ToolRefusal, script: Script, where: str, version: Version) -> KpmagicError:
    """Return what a user can do about a tracer that ended before its probes were there."""
    said = refusal.log.strip()
    if script.tool == "bcc":
        return _of_bcc(refusal, script, where)
    if TOO_OLD.search(said) and is_old(script.tool, text := version()):
        return too_old(script.tool, text, where)
    refused = NOT_ATTACHED.search(said)
    if refused is not None:
        return _not_attached(refused["probe"], said, script)
    found = BPFTRACE.search(said)
    words = "\n".join(said.splitlines()[-MOST:]) or refusal.message
    if found is None:
        return BuildError(f"{refusal.message}\n{words}" if said else words)
    more = len(BPFTRACE.findall(said)) - 1
    place = script.place(int(found["line"]), int(found["column"] or 0))
    return BuildError(found["text"] + (f"; {more} more" if more else ""), place=place)


def _not_attached(probe: str, said: str, script: Script) -> AttachError:
    """The words of the kernel's refusal, without those about the script."""
    words = [line for line in said.splitlines() if line and not line.startswith(("stdin:", "~"))]
    shown = [line for line in words if line not in script.text.splitlines()][-MOST:]
    at = script.text.find(probe)
    place = script.place_of(at) if at >= 0 else None
    return AttachError("; ".join(shown), place=place, hint="%kp symbols 'GLOB' lists what there is")


def too_old(tool: str, version: str, where: str) -> MissingDependency:
    """Return the error that says what is needed."""
    oldest = ".".join(map(str, OLDEST[tool]))
    return MissingDependency(
        f"{tool} on {where} is too old: {version.strip()}, needed is {oldest} or newer",
        hint=f"sudo apt-get install -t NEWER_SUITE {PACKAGES[tool]}",
    )


def _of_bcc(refusal: ToolRefusal, script: Script, where: str) -> KpmagicError:
    """What clang, the kernel, or BCC's Python said; the last line is that of agent/bcc.py."""
    said = refusal.log.strip()
    *before, last = said.splitlines() or [refusal.message]
    words = last.removeprefix("kpmagic: ")
    if refusal.code == bcc.MISSING:
        return missing("bcc", where)
    if refusal.code == bcc.OLD:
        return too_old("bcc", words, where)
    found = MAIN_C.search(said)
    if found is not None:
        more = len(MAIN_C.findall(said)) - 1
        place = script.place(int(found["line"]), int(found["column"]))
        return BuildError(found["text"] + (f"; {more} more" if more else ""), place=place)
    errors = [line for line in before if "error:" in line]
    shown = "\n".join(in_the_cell(line, script) for line in [*(errors or before)[-MOST:], words])
    if "Failed to load BPF program" in words:
        return VerifierError(shown)
    if "Failed to attach" in words:
        return AttachError(shown, hint="%kp symbols 'GLOB' lists what there is")
    return BuildError(shown)


def in_the_cell(text: str, script: Script) -> str:
    """Return what BCC said with the lines of the cell for those of its source."""
    def at(match: re.Match[str]) -> str:
        return f"{script.cell}:{int(match[1]) + script.body_line - 1}"

    return VIRTUAL.sub(at, text)


def is_old(tool: str, text: str) -> bool:
    """Whether what a tool says of its version is less than is needed; unknown is not."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST[tool]
