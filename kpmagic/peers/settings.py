# SPDX-License-Identifier: MIT
"""What BCC's process is told besides the source: agent/bcc.py."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..model import Site
from .dialect import Wanted, tables_of, traces
from .script import Script
from .types import pruned


def of_script(
    script: Script, places: Iterable[tuple[Wanted, tuple[Site, ...]]], headers: Path
) -> dict[str, Any]:
    """Return the settings of a cell in BCC's dialect; ``headers`` has the kernel's vmlinux.h."""
    return {
        "script": True,
        "cflags": [f"-D{name}={value}" for name, value in script.options.defines],
        "types_only": False,
        "types": types(headers, script.text),
        "tables": tables_of(script.text),
        "trace": traces(script.text),
        "attach": [_place(wanted.function, site, wanted.is_return)
                   for wanted, sites in places for site in sites],
    }  # fmt: skip


def types(headers: Path, source: str) -> str:
    """Return those of the kernel's types that a source needs, as C, packed."""
    text = pruned((headers / "vmlinux.h").read_text(encoding="utf-8"), source)
    return zlib.compress(text.encode()).hex()


def _place(function: str, site: Site, is_return: bool) -> dict[str, Any]:
    return {"function": function, "symbol": site.symbol, "offset": site.offset,
            "return": is_return}  # fmt: skip
