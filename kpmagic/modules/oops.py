# SPDX-License-Identifier: MIT
"""A kernel's last words → the frames of its oops, those of a module with their line of the cell."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace

# arch/x86/kernel/dumpstack.c: RIP: 0010:handler_pre+0x5/0x20 [classic];  ? is a guess
_FRAME = re.compile(
    r"(?P<rip>RIP: [0-9a-f]+:)?\s*(?P<guess>\? )?(?P<function>[A-Za-z_][\w.]*)"
    r"\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+(?: \[(?P<module>\w+)[^\]]*\])?\s*$"
)
_STAMP = re.compile(r"^\[[^\]]*\]\s*(?:\[[^\]]*\]\s*)?")
_WHY = re.compile(r"BUG: |Oops: |Kernel panic|general protection fault|watchdog: |kernel BUG at ")


@dataclass(frozen=True)
class Frame:
    """A function that was running: ``offset`` bytes in; ``line`` of a module's source, or 0."""

    function: str
    offset: int
    module: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """``handler_pre+0x5``."""
        return f"{self.function}+{self.offset:#x}"


def why(words: str) -> str:
    """Return the kernel's own sentence about its end, or ``""``."""
    lines = [_STAMP.sub("", line).strip() for line in words.splitlines()]
    return next((line for line in lines if _WHY.search(line)), "")


def frames(words: str) -> list[Frame]:
    """Return the frames of the first stack in ``words``, innermost first, without guesses."""
    found: list[Frame] = []
    for line in words.splitlines():
        if found and "</TASK>" in line:
            break
        match = _FRAME.search(_STAMP.sub("", line))
        if match is None or match["guess"]:
            continue
        frame = Frame(match["function"], int(match["offset"], 16), match["module"] or "")
        # the registers are printed again at the end of it all; those an interrupt came to are not
        if match["rip"] and frame in found:
            break
        found.append(frame)
    return found


def with_lines(found: list[Frame], module: str, object_: bytes, file: str) -> list[Frame]:
    """Return frames with the lines that those of ``module`` have in ``file`` of its source."""
    own = [frame for frame in found if frame.module == module]
    lines = {frame: _line(object_, frame, file) for frame in own}
    return [replace(frame, line=lines.get(frame, 0)) for frame in found]


def _line(object_: bytes, frame: Frame, file: str) -> int:
    """Ask addr2line; 0 when it is not there or does not know."""
    objdump, addr2line = shutil.which("objdump"), shutil.which("addr2line")
    if objdump is None or addr2line is None:
        return 0
    with tempfile.NamedTemporaryFile(suffix=".ko") as kept:
        kept.write(object_)
        kept.flush()
        # gcc puts what it thinks is seldom run into a section of its own
        symbol = rf"^([0-9a-f]+) .* F (\.\S*text\S*)\t[0-9a-f]+ {re.escape(frame.function)}$"
        match = re.search(symbol, _run([objdump, "-t", kept.name]), re.M)
        if match is None:
            return 0
        # but for the innermost, an address is that of the instruction after the call
        address = int(match[1], 16) + max(frame.offset - 1, 0)
        said = _run([addr2line, "-i", "-e", kept.name, "-j", match[2], f"{address:#x}"])
    place = re.search(rf"(?:^|/){re.escape(file)}:(\d+)", said)
    return int(place[1]) if place else 0


def _run(command: list[str]) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", check=False).stdout  # fmt: skip
