# SPDX-License-Identifier: MIT
"""The two ways to run a case: as a function and as a magic. Both must show the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from case import Case, words
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.connection import Connection
from kpmagic.options import BY_FLAG

FUNCTIONS = {"kprobe": kpmagic.probe, "kretprobe": kpmagic.retprobe}


def as_function(case: Case, target: Connection) -> Any:
    """Run a case as ``kpmagic.probe(...)`` with its options as keywords."""
    places, keywords = keywords_of(case.line)
    return FUNCTIONS[case.magic.lstrip("%")](places, case.body, target=target, **keywords)


def keywords_of(line: str) -> tuple[list[str], dict[str, Any]]:
    """Return a magic line's places, and its options as keywords of the function."""
    places: list[str] = []
    keywords: dict[str, Any] = {}
    left = iter(words(line))
    for word in left:
        option = BY_FLAG.get(word)
        if option is None:
            places.append(word)
        elif option.field == "defines":
            name, _, value = next(left).partition("=")
            keywords.setdefault("defines", {})[name] = int(value)
        else:
            keywords[option.keyword] = True if option.parse is None else next(left)
    return places, keywords


def as_magic(case: Case, target: Connection) -> Any:
    """Run a case as a cell of IPython; raise what the cell raised."""
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(target)
    first, *rest = case.cell.split("\n")
    result = shell.run_cell("\n".join([f"{first} -o run", *rest]), store_history=False)
    result.raise_error()
    return shell.user_ns["run"]


WAYS: dict[str, Callable[[Case, Connection], Any]] = {
    "function": as_function,
    "magic": as_magic,
}
