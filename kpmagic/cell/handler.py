# SPDX-License-Identifier: MIT
"""A body understood: plain C between calls of kpmagic's words, with columns and their types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kpmagic.model import LeftOut, Plan, Site
from kpmagic.record import Aggregate, CType

Form = Literal[
    "value",
    "kernel_string",
    "user_string",
    "kernel_array",
    "local_array",
    "kernel_stack",
    "user_stack",
]


@dataclass(frozen=True)
class Column:
    """A value for a column or a key: a C expression whose loads are safe, and how to store it.

    ``value``: assign it. ``*_string``: read a string from that address. ``kernel_array``: read
    ``type.size`` bytes from that address. ``local_array``: copy them. ``*_stack``: the callers'
    addresses, as many as ``type.count``, 0 behind the last; ``code`` is empty.
    """

    name: str
    type: CType
    form: Form
    code: str


@dataclass(frozen=True)
class Emit:
    """A row to be written; ``row`` is its layout's number."""

    row: int
    columns: tuple[Column, ...]
    lines: int = 0


@dataclass(frozen=True)
class Inject(Emit):
    """A row about a hit that gets another return value, C text of 64 bits: no row, no injection."""

    value: str = "0"


@dataclass(frozen=True)
class Add:
    """A value to be added to an aggregation; ``value`` is None for count."""

    aggregate: Aggregate
    keys: tuple[Column, ...]
    value: Column | None
    lines: int = 0


Piece = str | Emit | Add


@dataclass(frozen=True)
class Handler:
    """The body for one site, or for several that look the same to it, in pieces.

    ``numbers`` are the sites' numbers in the plan, ``site`` is the first of them. ``where`` is C
    or ``""``. ``uses`` are the names of parameters and builtins that body or ``where`` mention.
    Handlers may share rows (the same ``Emit.row``). ``multi``: see `model.Program`.
    ``section`` is ``pre`` or ``post`` (the probed instruction) where a body has both.
    """

    site: Site
    numbers: tuple[int, ...]
    pieces: tuple[Piece, ...]
    where: str
    uses: frozenset[str]
    multi: bool = False
    section: Literal["", "pre", "post"] = ""

    @property
    def injects(self) -> bool:
        """Whether it may change what a function returns."""
        return any(isinstance(piece, Inject) for piece in self.pieces)

    @property
    def number(self) -> int:
        """The first site's number, which names the handler."""
        return self.numbers[0]

    @property
    def emits(self) -> Sequence[Emit]:
        """The rows it may write."""
        return [piece for piece in self.pieces if isinstance(piece, Emit)]

    @property
    def adds(self) -> Sequence[Add]:
        """The aggregations it feeds."""
        return [piece for piece in self.pieces if isinstance(piece, Add)]


@dataclass(frozen=True)
class Analysis:
    """What a backend renders: the plan and the handlers of its sites.

    ``left_out`` are sites from a wildcard that the body does not fit: they have no handler.
    ``posts`` are the handlers that run after the probed instruction.
    """

    plan: Plan
    handlers: tuple[Handler, ...]
    left_out: tuple[LeftOut, ...] = ()
    posts: tuple[Handler, ...] = ()

    @property
    def emits(self) -> list[Emit]:
        """Every shape of row once, in order of its number."""
        everything = (*self.handlers, *self.posts)
        found = {emit.row: emit for handler in everything for emit in handler.emits}
        return [found[row] for row in sorted(found)]
