# SPDX-License-Identifier: MIT
"""Where kpmagic keeps what it can make again: kernels, headers, objects, console logs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def directory(*names: str) -> Path:
    """Return the user's cache directory, or one inside it, made and private (mode 0700).

    ``KPMAGIC_CACHE`` in the environment overrides where it is.
    """
    override = os.environ.get("KPMAGIC_CACHE")
    path = Path(override) if override else platformdirs.user_cache_path("kpmagic")
    path = path.expanduser().absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        path /= name
        path.mkdir(mode=0o700, exist_ok=True)
    return path
