# SPDX-License-Identifier: MIT
"""Empties the cache of what is made again in a moment, even while another notebook works."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from . import cache
from .connection import Connection
from .errors import TargetError
from .view.table import grouped

# kernels are a download, and the precompiled headers are open in every compiler that runs
REMOVED = (
    "facts/*", "console/*", "headers/*/objects", "modules/*", "machines/[!.]*", "machines/.saving-*",
)  # fmt: skip


def clean_cache() -> str:
    """Remove what was compiled, saved or logged, and kernel facts; return a sentence about it."""
    freed = 0
    home = cache.directory()
    for path in [found for pattern in REMOVED for found in home.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            # a saved machine's memory is mostly holes
            freed += sum(512 * each.stat().st_blocks for each in path.rglob("*") if each.is_file())
            shutil.rmtree(path)
        else:
            freed += path.lstat().st_size
            path.unlink()
    return f"freed {grouped(freed >> 10)} KB in {home}; fetched kernels stay"


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
