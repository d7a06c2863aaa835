# SPDX-License-Identifier: MIT
"""The notebook's own folder: the working directory of commands on this machine, and in a copy."""

from __future__ import annotations

from pathlib import Path

from kpmagic.errors import TargetError


def own(chosen: Path | None) -> Path:
    """Return ``chosen``, else the directory this process is in. Raises TargetError."""
    try:
        return (chosen or Path.cwd()).resolve()
    except FileNotFoundError:
        raise TargetError(
            "the notebook's folder has been removed: commands have nowhere to run",
            hint="%cd to a folder that is there, and run the cell again",
        ) from None
