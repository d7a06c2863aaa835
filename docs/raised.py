# SPDX-License-Identifier: MIT
"""The messages of kpmagic's errors, read from its own source: class, message and hint of each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import kpmagic
from kpmagic import errors

PACKAGE = Path(kpmagic.__file__).parent
CLASSES = {name for name in vars(errors) if name.endswith(("Error", "Lost", "Permitted"))}
CLASSES.add("MissingDependency")
# what becomes an error elsewhere: name → (error's class, places of message and hint)
TABLES = {"Forbidden": ("SymbolError", 1, 2)}
REFUSALS = ("fail", "_fail")  # fail(offset, message, hint) raises a CellError


@dataclass(frozen=True, order=True)
class Raised:
    """An error as the source raises it, ``…`` in place of what is put in."""

    error: str
    message: str
    hint: str = ""


@cache
def raised() -> frozenset[Raised]:
    """Return every message that stands in the package's source."""
    return frozenset(
        found
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for found in _of_call(node)
    )


def _of_call(call: ast.Call) -> Iterator[Raised]:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    hint = next((_text(word.value) for word in call.keywords if word.arg == "hint"), "")
    if name in CLASSES and call.args:
        yield from _raised(name, _text(call.args[0]), hint)
    elif name in TABLES and len(call.args) > TABLES[name][2]:
        error, message, advice = TABLES[name]
        yield from _raised(error, _text(call.args[message]), _text(call.args[advice]))
    elif name in REFUSALS and len(call.args) >= 2:
        advice = _text(call.args[2]) if len(call.args) > 2 else hint
        yield from _raised("CellError", _text(call.args[1]), advice)
    elif name == "Reason" and len(call.args) == 3 and isinstance(call.args[0], ast.Name):
        yield from _raised(call.args[0].id, _text(call.args[1]), _text(call.args[2]))


def _raised(error: str, message: str, hint: str) -> Iterator[Raised]:
    if message.strip("… "):
        yield Raised(error, message, hint)


def _text(node: ast.expr) -> str:
    """Return a string's text, ``…`` for what is known only when it happens."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "'…'" if node.conversion == ord("r") else _constant(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return _text(node.body)
    return _constant(node)


def _constant(node: ast.expr) -> str:
    """Return the text that a name stands for, ``…`` for anything else."""
    return _constants().get(getattr(node, "attr", getattr(node, "id", "")), "…")


@cache
def _constants() -> dict[str, str]:
    """Return the texts that have a name in the package, those whose name is one text's alone."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for name in node.targets:
                    if isinstance(name, ast.Name) and isinstance(node.value.value, str):
                        found.setdefault(name.id, set()).add(node.value.value)
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}
