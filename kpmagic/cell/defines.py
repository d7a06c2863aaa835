# SPDX-License-Identifier: MIT
"""Python values as C text: what ``-D NAME=VALUE`` puts before the cell's body."""

from __future__ import annotations

import re
from collections.abc import Mapping

C_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# include/uapi/linux and the compiler own names that begin so
RESERVED = re.compile(r"__|_[A-Z]|kp_|KP_|bpf_|BPF_")


def parse_define(word: str, names: Mapping[str, object]) -> tuple[str, str]:
    """Return name and C text of ``NAME=VALUE``; ``$name`` is looked up in ``names``.

    Raises ValueError; NameError when there is no such Python variable.
    """
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError("a define is written NAME=VALUE")
    if not value.startswith("$"):
        return checked_name(name), _checked_text(value)
    python_name = value[1:]
    if python_name not in names:
        raise NameError(f"no Python variable {python_name!r}", name=python_name)
    return checked_name(name), literal(names[python_name])


def checked_name(name: str) -> str:
    """Return ``name`` if C takes it as a define's. Raises ValueError."""
    if not C_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a C identifier")
    if RESERVED.match(name) or name == "defined":
        raise ValueError(f"{name!r} is reserved: choose a name without that prefix")
    return name


def _checked_text(value: str) -> str:
    if not value.strip():
        raise ValueError("the value is empty")
    if any(mark in value for mark in "\n\r\0") or value.endswith("\\"):
        raise ValueError("the value is one line of C")
    return value


def literal(value: object) -> str:
    """Return an int or str as a C literal. Raises ValueError."""
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, str):
        return _string(value)
    raise ValueError(f"an int or a str is needed, this is a {type(value).__name__}")


def _integer(value: int) -> str:
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError("the number does not fit into 64 bits")
    if value == -(1 << 63):  # C has no negative literals: this one would not fit without its sign
        return "(-9223372036854775807LL - 1)"
    suffix = "ULL" if value >= 1 << 63 else "LL" if abs(value) >= 1 << 31 else ""
    return f"({value}{suffix})" if value < 0 else f"{value}{suffix}"


def _string(value: str) -> str:
    if "\0" in value:
        raise ValueError("a C string cannot hold a NUL byte")
    return '"' + "".join(_byte(byte) for byte in value.encode()) + '"'


def _byte(byte: int) -> str:
    """Three octal digits never swallow what follows; ``?`` could begin a trigraph."""
    mark = chr(byte)
    plain = 32 <= byte < 127 and mark not in '"\\?'
    return mark if plain else f"\\{byte:03o}"
