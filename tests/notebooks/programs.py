# SPDX-License-Identifier: MIT
"""A machine on which a program is not installed, as a notebook sees it."""

from __future__ import annotations

from pathlib import Path

HIDE = """
import os, pathlib, kpmagic.targets.commands as commands
folder = pathlib.Path(FOLDER).absolute()
folder.mkdir()
for program in commands.PACKAGES:
    if program != HIDDEN:
        (folder / program).symlink_to(commands.find(program))
os.environ["PATH"], commands.SYSTEM = str(folder), ()
"""


def hidden(program: str, folder: Path = Path("bin")) -> str:
    """Return a cell after which PATH has the distribution's programs in ``folder``, but one.

    clang is not among them, whichever that is.
    """
    return f"FOLDER, HIDDEN = {str(folder)!r}, {program!r}{HIDE}"
