# SPDX-License-Identifier: MIT
"""Empties the cache of what is made again in a moment, even while another notebook works."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import cache
from ..channel.connection import Connection
from ..errors import TargetError
from ..view.table import grouped

# kernels are a download, and the precompiled headers are open in every compiler that runs;
# a file whose name begins with a dot is just being written by another notebook
REMOVED: dict[str, tuple[str, ...]] = {
    "kernel facts": ("facts/*",),
    "console logs": ("console/*",),
    "compiled probes and modules": ("headers/*/objects", "modules/[!.]*"),
    "what Kbuild has found out": ("kbuild/[!.]*",),
    "agents as bytecode": ("agent/[!.]*",),
    "compiled workloads": ("workloads/[!.]*",),
    "saved machines": ("machines/[!.]*", "machines/.saving-*"),
}


def clean_cache() -> Iterator[str]:
    """Remove what is made again in a moment; yield a line about each kind of it."""
    home = cache.directory()
    freed = 0
    for what, patterns in REMOVED.items():
        sizes = [_remove(path) for pattern in patterns for path in sorted(home.glob(pattern))]
        freed += sum(sizes)
        if sizes:
            yield f"removed {what}: {len(sizes)}, {grouped(sum(sizes) >> 10)} KB"
    yield f"freed {grouped(freed >> 10)} KB in {home}; kernels and their types stay"


def _remove(path: Path) -> int:
    """Remove a file or folder; return the bytes it took, 0 where another notebook was quicker."""
    before = cache.size(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # what is written there meanwhile stays
        return before - cache.size(path)
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    return before


def clean_targets(connections: Iterable[Connection]) -> Iterator[str]:
    """Undo what killed agents have left on the targets; yield a line for each thing."""
    for connection in connections:
        if getattr(connection.target, "lease", None) is None:
            continue  # there is no agent
        try:
            answer, _ = connection.request("clean")
        except TargetError as error:
            yield f"{connection.name}: {error.message}"
            continue
        for text in answer["removed"]:
            yield f"{connection.name}: removed {text}"
        for text in answer.get("kept", []):
            yield f"{connection.name}: cannot remove {text}"
