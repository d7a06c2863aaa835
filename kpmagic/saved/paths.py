# SPDX-License-Identifier: MIT
"""Paths of files as users give them."""

from __future__ import annotations

from pathlib import Path

from ..errors import RecordingError


def path_of(path: str | Path) -> Path:
    """Return a path with the home directory for its ``~``. Raises RecordingError."""
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:  # no text; ~nobody, who has no home
        raise RecordingError(f"{path!r} is no path of a file: {error}") from None
