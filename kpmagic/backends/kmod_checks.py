# SPDX-License-Identifier: MIT
"""What a body may not do in a module, where no verifier looks at it.

Source: Documentation/trace/kprobes.rst, section 'Kprobes Features and Limitations': handlers run
with preemption disabled, and may run with interrupts disabled; they must not sleep or wait.
That a body calls nothing of the kernel's, and writes nothing of it, is seen by `analyse`.
"""

from __future__ import annotations

import re
from typing import NoReturn

from kpmagic.body import narrow, place_of
from kpmagic.errors import CellError
from kpmagic.model import Probe

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
# for (;;), for (a; ; b), while (1), while (true): nothing in the head ends them
_ENDLESS = re.compile(
    r"\bfor\s*\([^;()]*;\s*;[^()]*\)|\bwhile\s*\(\s*(?:0[xX])?0*[1-9][0-9a-fA-F]*\s*\)"
    r"|\bwhile\s*\(\s*true\s*\)"
)
_GOTO = re.compile(r"\bgoto\b")
SOURCE = "Documentation/trace/kprobes.rst"


def check(probe: Probe) -> None:
    """Refuse a body that would stop the machine. Raises CellError."""
    if probe.body is None:
        return
    body = narrow(probe.body)
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), body)
    for pattern, message in (
        (_ENDLESS, "this loop has no end that can be seen: in a handler it stops the machine"),
        (_GOTO, "a goto can make a loop that has no end"),
    ):
        found = pattern.search(text)
        if found is not None:
            _refuse(probe, body, found.start(), message)


def _refuse(probe: Probe, body: str, offset: int, message: str) -> NoReturn:
    raise CellError(
        message,
        hint="count in the loop's head: for (i = 0; i < 16; i++)\n"
        f"a handler runs with preemption off and must soon be done ({SOURCE})",
        place=place_of(body, offset, probe.body_line, probe.cell),
    )
