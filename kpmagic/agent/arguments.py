# SPDX-License-Identifier: MIT
"""What a request brings, checked before anything is done with it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from kpmagic.agent.limits import Limits
from kpmagic.agent.refusal import Refused

PAGE = 4096
MAX_RECORD = 1 << 16
MAX_BUFFER = 1 << 30
U64 = (1 << 64) - 1


class Program(NamedTuple):
    """A program of the object and a place where it goes; without a symbol, to an address.

    See the wire's ``start`` for the others.
    """

    program: str
    symbol: str | None
    address: int | None
    offset: int
    is_return: bool
    cookie: int = 0
    exact: bool = False
    optional: bool = False
    multi: bool = False
    fentry: bool = False

    @property
    def place(self) -> str:
        """Where it goes, for people."""
        if self.symbol is None:
            return f"{self.address or 0:#x}"
        return f"{self.symbol}+{self.offset:#x}"

    @property
    def way(self) -> str:
        """By which of the kernel's interfaces, as libbpf calls them."""
        if self.fentry:
            return "fentry"
        return ("kretprobe" if self.is_return else "kprobe") + ".multi" * self.multi


class Start(NamedTuple):
    """The arguments of ``start``; times in ns, sizes in bytes."""

    object: bytes
    programs: tuple[Program, ...]
    config: dict[str, Any]
    record: int
    buffer: int
    follow: bool
    command: str | None
    cwd: str | None
    limits: Limits
    max_ppm: int
    entries: str | None
    aggregates: tuple[str, ...]
    module: str = ""
    key_sizes: tuple[int, ...] = ()
    mechanism: str = ""
    injection: dict[str, int] | None = None
    mappings: bool = False
    bcc: bool = False


def text(message: dict[str, Any], name: str, *, needed: bool = True) -> Any:
    """Return the string ``name`` of ``message``, None when absent. Raises Refused."""
    value = message.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not _is_passable(value):
        raise Refused("request", f"'{name}' must be text")
    return value


def _is_passable(value: str) -> bool:
    """Whether the kernel can be given it; names of files may hold bytes that are no text."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def number(message: dict[str, Any], name: str, low: int, high: int, default: Any = None) -> Any:
    """Return the integer ``name`` between ``low`` and ``high``. Raises Refused."""
    value = message.get(name)
    if value is None:
        if default is None:
            raise Refused("request", f"'{name}' is missing")
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused("request", f"'{name}' must be a number from {low} to {high}")
    return value


def limits(message: dict[str, Any]) -> Limits:
    """Return ``for_ns`` and ``max_ns``. Raises Refused."""
    found = [number(message, name, 0, U64, -1) for name in Limits._fields]
    return Limits(*(None if ns == -1 else ns for ns in found))


def start(message: dict[str, Any], blob: bytes) -> Start:
    """Return the arguments of ``start``. Raises Refused."""
    config = message.get("config")
    asked = Start(
        object=blob,
        programs=tuple(_program(item) for item in _list(message, "programs")),
        config=_config({} if config is None else config),
        record=number(message, "record", 1, MAX_RECORD),
        buffer=number(message, "buffer", PAGE, MAX_BUFFER),
        follow=bool(message.get("follow")),
        command=text(message, "command", needed=False),
        cwd=text(message, "cwd", needed=False),
        limits=limits(message),
        max_ppm=number(message, "max_ppm", 0, U64, 0),
        entries=text(message, "entries", needed=False),
        aggregates=_names(message, "aggregates"),
        module=text(message, "module", needed=False) or "",
        key_sizes=_sizes(message, "key_sizes"),
        mechanism=text(message, "mechanism", needed=False) or "",
        injection=_injection(message.get("injection")),
        bcc=bool(message.get("bcc")),
        mappings=bool(message.get("mappings")),
    )
    _check(asked)
    return asked


def _check(asked: Start) -> None:
    if not asked.programs:
        raise Refused("request", "'programs' is empty")
    if asked.buffer & (asked.buffer - 1):
        raise Refused("request", "'buffer' must be a power of two")
    if asked.module and len(asked.key_sizes) != len(asked.aggregates):
        raise Refused("request", "'key_sizes' must be one for each of 'aggregates'")
    if asked.follow and asked.command is None:
        raise Refused("request", "'follow' needs a 'command'")


def _list(message: dict[str, Any], name: str) -> list[Any]:
    value = message.get(name)
    if not isinstance(value, list):
        raise Refused("request", f"'{name}' must be a list")
    return value


def _names(message: dict[str, Any], name: str) -> tuple[str, ...]:
    names = _list(message, name) if message.get(name) is not None else []
    if not all(isinstance(item, str) for item in names):
        raise Refused("request", f"'{name}' must be a list of names")
    return tuple(names)


def _sizes(message: dict[str, Any], name: str) -> tuple[int, ...]:
    sizes = _list(message, name) if message.get(name) is not None else []
    if not all(isinstance(item, int) and 8 <= item <= MAX_RECORD for item in sizes):
        raise Refused("request", f"'{name}' must be a list of sizes")
    return tuple(sizes)


def _program(item: Any) -> Program:
    if not isinstance(item, dict):
        raise Refused("request", "each of 'programs' must be an object")
    symbol = text(item, "symbol", needed=False)
    address = number(item, "address", 0, U64, 0) or None
    if symbol is None and address is None:
        raise Refused("request", "a program needs a 'symbol' or an 'address'")
    offset = number(item, "offset", 0, U64, 0)
    return Program(
        text(item, "program"),
        symbol,
        address,
        offset,
        bool(item.get("return")),
        number(item, "cookie", 0, U64, 0),
        bool(item.get("exact")) and address is not None,
        bool(item.get("optional")),
        bool(item.get("multi")) and address is not None,
        bool(item.get("fentry")),
    )


def _injection(asked: Any) -> dict[str, int] | None:
    if asked is None:
        return None
    if not isinstance(asked, dict):
        raise Refused("request", "'injection' must be an object")
    chance = number(asked, "chance", 1, (1 << 32) - 1, (1 << 32) - 1)
    return {"times": number(asked, "times", 0, U64, 0), "chance": chance}


def _config(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise Refused("request", "'config' must be an object")
    return {
        "max_rows": number(config, "max_rows", 0, U64, 0),
        "pid": number(config, "pid", 0, (1 << 32) - 1, 0),
        "cpu": number(config, "cpu", -1, (1 << 31) - 1, -1),
        "sample": number(config, "sample", 1, (1 << 32) - 1, 1),
        "comm": text(config, "comm", needed=False) or "",
    }
