# SPDX-License-Identifier: MIT
"""The two ways to run a cell: as a function and as a magic. Both must show the same."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

from case import Cell, words
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.cell.options import BY_FLAG
from kpmagic.channel.connection import Connection
from kpmagic.kp.commands import run_line

FUNCTIONS = {"kprobe": kpmagic.probe, "kretprobe": kpmagic.retprobe}
Names = Mapping[str, object]


def as_function(cell: Cell, target: Connection, names: Names) -> Any:
    """Run a cell as ``kpmagic.probe(...)`` with its options as keywords."""
    places, keywords = keywords_of(cell.line, names)
    magic = cell.magic.lstrip("%")
    if magic == "kmodule":
        return kpmagic.module(places[0], f"{cell.body}\n", target=target, **keywords)
    return FUNCTIONS[magic](places, cell.body, target=target, **keywords)


def keywords_of(line: str, names: Names) -> tuple[list[str], dict[str, Any]]:
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
            given = names[value[1:]] if value.startswith("$") else int(value, 0)
            keywords.setdefault("defines", {})[name] = given
        else:
            keywords[option.keyword] = True if option.parse is None else next(left)
    return places, keywords


def ask_function(line: str, target: Connection) -> str:
    """Do what ``%kp LINE`` does; return what it prints."""
    kpmagic.use(target)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run_line(line)
    return said.getvalue()


def as_magic(cell: Cell, target: Connection, names: Names) -> Any:
    """Run a cell in IPython; raise what the cell raised."""
    shell = notebook(target)
    shell.user_ns.update(names)
    first, *rest = cell.text.split("\n")
    result = shell.run_cell("\n".join([f"{first} -o run", *rest]), store_history=False)
    result.raise_error()
    return shell.user_ns["run"]


def ask_magic(line: str, target: Connection) -> str:
    """Run a ``%kp`` line in IPython; return what it prints."""
    shell = notebook(target)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        result = shell.run_cell(f"%kp {line}", store_history=False)
    result.raise_error()
    return said.getvalue()


def notebook(target: Connection) -> InteractiveShell:
    """Return an IPython whose cells run on ``target``."""
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(target)
    return shell


WAYS: dict[str, Callable[[Cell, Connection, Names], Any]] = {
    "function": as_function,
    "magic": as_magic,
}
ASKS: dict[str, Callable[[str, Connection], str]] = {
    "function": ask_function,
    "magic": ask_magic,
}
