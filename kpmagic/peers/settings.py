# SPDX-License-Identifier: MIT
"""What BCC's process is told besides the source: agent/bcc.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..cell.script import Script
from ..kernel.pruned import packed
from ..model import Site
from .dialect import Wanted, tables_of, traces


def of_script(
    script: Script, places: Iterable[tuple[Wanted, tuple[Site, ...]]], headers: Path
) -> dict[str, Any]:
    """Return the settings of a cell in BCC's dialect; ``headers`` has the kernel's vmlinux.h."""
    return {
        "script": True,
        "cflags": [f"-D{name}={value}" for name, value in script.options.defines],
        "types_only": False,
        "types": packed(headers / "vmlinux.h", script.text),
        "tables": tables_of(script.text),
        "trace": traces(script.text),
        "attach": [_place(wanted.function, site, wanted.is_return)
                   for wanted, sites in places for site in sites],
    }  # fmt: skip


def _place(function: str, site: Site, is_return: bool) -> dict[str, Any]:
    return {"function": function, "symbol": site.symbol, "offset": site.offset,
            "return": is_return}  # fmt: skip
