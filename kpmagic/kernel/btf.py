# SPDX-License-Identifier: MIT
"""What a kernel's BTF knows: functions with their parameters, structs with their members."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from kpmagic.kernel import btf_struct
from kpmagic.kernel.btf_text import declare, has_name, kind_of, size_of, strip, unqualified
from kpmagic.kernel.btf_types import Kind, Type, Types, bad
from kpmagic.model import Function, Parameter

_TAGGED = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
_LAYOUTS = (Kind.STRUCT, Kind.UNION)
_ENUMS = (Kind.ENUM, Kind.ENUM64)
_SEARCHES = 16  # of all types take longer than making an index of them

# C23, and what gcc and clang reserve besides
_C_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while asm typeof bool true false nullptr alignas alignof
    constexpr static_assert thread_local typeof_unqual
"""
_C_KEYWORDS = frozenset(_C_WORDS.split())


@dataclass(frozen=True)
class Member:
    """A member of a struct or union; ``bit_offset`` from its start, ``bits`` of a bitfield or 0."""

    name: str
    type_id: int
    bit_offset: int
    bits: int = 0


class Btf(Types):
    """The types of one kernel (``/sys/kernel/btf/vmlinux``) or, with ``base``, of one module."""

    _searches = 0

    def function(self, name: str) -> Function | None:
        """Return the prototype of ``name``.

        None where BTF has none, or has several that differ: which of them is meant, nothing says.
        """
        self._searches += 1
        many = self._searches > _SEARCHES
        ids = self._by_name.get(name, []) if many else self.find(name, Kind.FUNC)
        found = [self.type(self.type(i).value) for i in ids]
        if any(prototype.kind != Kind.FUNC_PROTO for prototype in found):
            raise bad(f"function {name!r} has no prototype")
        functions = [self._function(name, prototype) for prototype in found]
        if not functions or any(f != functions[0] for f in functions):
            return None
        return functions[0]

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for type_id, name in self.named(Kind.FUNC):
            found.setdefault(name, []).append(type_id)
        return found

    def prototype(self, function: Function) -> str:
        """Return ``ssize_t vfs_read(struct file *file, …)``."""
        parameters = [p.declaration for p in function.parameters]
        if function.variadic:
            parameters.append("...")
        text = f"{function.name}({', '.join(parameters) or 'void'})"
        if "(*)" in function.returns:
            return function.returns.replace("(*)", f"(*{text})", 1)
        return f"{function.returns}{'' if function.returns.endswith('*') else ' '}{text}"

    def declaration(self, type_id: int, name: str = "") -> str:
        """Return the C declaration of ``name``; the type alone without a name."""
        return declare(self, type_id, name)

    def size(self, type_id: int) -> int:
        """Return the size of a type in bytes, 0 for what has none."""
        return size_of(self, type_id)

    def type_named(self, name: str) -> int | None:
        """Return the id of ``struct file``, ``enum pid_type``, ``loff_t``, or of plain ``file``."""
        tag, _, rest = name.strip().rpartition(" ")
        if tag:
            kinds = _TAGGED.get(tag.strip(), ())
        else:
            kinds = (*_LAYOUTS, *_ENUMS, Kind.TYPEDEF, Kind.INT, Kind.FLOAT)
        found = self.find(rest, *kinds) if kinds else []
        return min(found, key=lambda i: kinds.index(self.type(i).kind), default=None)

    def members(self, type_id: int) -> tuple[Member, ...]:
        """Return the members a pointer chain can name next: those of unnamed members among them."""
        return tuple(self._members(self._pointed(type_id), 0, {0}))

    def enumerators(self, type_id: int) -> dict[int, str]:
        """Return value → name of an enum, empty for any other type; the first name of a value."""
        found = strip(self, type_id)
        if found.kind not in _ENUMS:
            return {}
        names: dict[int, str] = {}
        for name, value in btf_struct.enumerators(self, found):
            names.setdefault(value, name)
        return names

    def _function(self, name: str, prototype: Type) -> Function:
        rows = list(prototype.extra)
        variadic = bool(rows) and rows[-1] == (0, 0)
        if variadic:
            rows.pop()
        names = _usable_names([self.string(offset) for offset, _ in rows])
        # An outermost const says nothing to a caller, and a handler fills its own copy.
        types = [unqualified(self, i).id for _, i in rows]
        parameters = tuple(
            Parameter(n, declare(self, i, n), i, size_of(self, i), kind_of(self, i))
            for n, i in zip(names, types, strict=True)
        )
        value = unqualified(self, prototype.value).id
        returns, size = declare(self, value), size_of(self, value)
        return Function(name, parameters, returns, variadic, size, value)

    def _pointed(self, type_id: int) -> Type:
        found = strip(self, type_id, frozenset({Kind.PTR}))
        if found.kind == Kind.ARRAY:
            found = strip(self, found.extra[0][0])
        if found.kind == Kind.FWD and has_name(found):
            kind = Kind.UNION if found.flag else Kind.STRUCT
            found = self.type(next(iter(self.find(found.name, kind)), found.id))
        return found

    def _members(self, found: Type, offset: int, seen: set[int]) -> Iterator[Member]:
        if found.kind not in _LAYOUTS or found.id in seen:
            return
        seen.add(found.id)
        for name, type_id, bit_offset, bits in btf_struct.rows(self, found):
            if name:
                yield Member(name, type_id, offset + bit_offset, bits)
            else:
                yield from self._members(strip(self, type_id), offset + bit_offset, seen)


def _usable_names(names: list[str]) -> list[str]:
    """Return parameter names C can use: ``arg0`` for none, a suffix for keyword and namesake."""
    usable: list[str] = []
    for position, name in enumerate(names):
        good = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        candidate = name if good else f"arg{position}"
        if candidate in _C_KEYWORDS:
            candidate += "_"
        while candidate in usable:
            candidate += f"_{position}"
        usable.append(candidate)
    return usable
