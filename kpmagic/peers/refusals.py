# SPDX-License-Identifier: MIT
"""Why another tracer did not start, in its own words, at the cell's line."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..cell.script import Script
from ..channel.refusals import ToolRefusal
from ..errors import AttachError, BuildError, KpmagicError
from ..tracers import is_old, of_bcc, too_old

# stdin:1:34-37: ERROR: Unknown identifier: 'foo'; lines of several places are 1-3
BPFTRACE = re.compile(
    r"^stdin:(?P<line>\d+)(?:-\d+)?(?::(?P<column>\d+))?[^:]*: ERROR: (?P<text>.*)", re.MULTILINE
)
NOT_ATTACHED = re.compile(r"Error attaching probe: '(?P<probe>[^']+)'")
NO_SUCH = re.compile(r"No matches for k(ret)?probe ")  # as 0.27 says it, before it attaches
SYMBOLS = "%kp symbols 'GLOB' lists what there is"
TOO_OLD = re.compile(r"(?:invalid|unrecognized|unknown) option", re.I)
VIRTUAL = re.compile(r"/virtual/main\.c:(\d+)")
MOST = 8  # lines of its words that are shown

Version = Callable[[], str]


def explain(refusal: ToolRefusal, script: Script, where: str, version: Version) -> KpmagicError:
    """Return what a user can do about a tracer that ended before its probes were there."""
    said = refusal.log.strip()
    if script.tool == "bcc":
        return of_bcc(refusal, script.place, where, lambda line: in_the_cell(line, script))
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
    if NO_SUCH.match(found["text"]):
        return AttachError(found["text"], place=place, hint=SYMBOLS)
    return BuildError(found["text"] + (f"; {more} more" if more else ""), place=place)


def _not_attached(probe: str, said: str, script: Script) -> AttachError:
    """The words of the kernel's refusal, without those about the script."""
    words = [line for line in said.splitlines() if line and not line.startswith(("stdin:", "~"))]
    shown = [line for line in words if line not in script.text.splitlines()][-MOST:]
    at = script.text.find(probe)
    place = script.place_of(at) if at >= 0 else None
    return AttachError("; ".join(shown), place=place, hint=SYMBOLS)


def in_the_cell(text: str, script: Script) -> str:
    """Return what BCC said with the lines of the cell for those of its source."""
    def at(match: re.Match[str]) -> str:
        return f"{script.cell}:{int(match[1]) + script.body_line - 1}"

    return VIRTUAL.sub(at, text)
