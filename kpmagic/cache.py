# SPDX-License-Identifier: MIT
"""Where kpmagic keeps what it can make again: kernels, headers, objects, console logs."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from .errors import BuildError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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


def size(path: Path) -> int:
    """Return the bytes that a file or folder takes on the disk: of holes, none.

    What others remove meanwhile, or nobody may look at, takes none.
    """
    inside = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    taken = 0
    for each in inside if path.is_dir() else (path,):
        with contextlib.suppress(OSError):
            taken += 512 * os.lstat(each).st_blocks
    return taken


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Have a disk that takes no more told as an error of ours. Raises BuildError."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise BuildError(
            f"the cache {str(directory())!r} cannot be written: {error.strerror}",
            hint="python -m kpmagic clean makes room; KPMAGIC_CACHE=DIRECTORY is another place",
        ) from None
