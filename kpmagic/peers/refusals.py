# SPDX-License-Identifier: MIT
"""Why another tracer did not start, in its own words, at the cell's line."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import AttachError, BuildError, KpmagicError, MissingDependency
from ..refusals import ToolRefusal
from .script import Script

PACKAGES = {"bpftrace": "bpftrace"}
OLDEST = {"bpftrace": (0, 12)}  # -f json with all that peers.output reads
# stdin:1:34-37: ERROR: Unknown identifier: 'foo'; lines of several places are 1-3
BPFTRACE = re.compile(
    r"^stdin:(?P<line>\d+)(?:-\d+)?(?::(?P<column>\d+))?[^:]*: ERROR: (?P<text>.*)", re.MULTILINE
)
NOT_ATTACHED = re.compile(r"Error attaching probe: '(?P<probe>[^']+)'")
TOO_OLD = re.compile(r"(?:invalid|unrecognized|unknown) option", re.I)
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
    if TOO_OLD.search(said) and is_old(script.tool, text := version()):
        oldest = ".".join(map(str, OLDEST[script.tool]))
        return MissingDependency(
            f"{script.tool} on {where} is too old: {text.strip()}, needed is {oldest} or newer",
            hint=f"sudo apt-get install -t NEWER_SUITE {PACKAGES[script.tool]}",
        )
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


def is_old(tool: str, text: str) -> bool:
    """Whether what a tool says of its version is less than is needed; unknown is not."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST[tool]
