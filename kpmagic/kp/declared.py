# SPDX-License-Identifier: MIT
"""``%kp struct`` and ``%kp sig``: what the kernel's own types say, those of loaded modules too."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..cell.syntax import parse_spec
from ..cell.values import positive
from ..channel.connection import Connection
from ..errors import CellError, SymbolError, TargetError
from ..kernel.btf import Btf, Member
from ..kernel.btf_text import strip, unqualified
from ..kernel.btf_tree import Node, line, tree
from ..kernel.btf_types import Kind
from ..kernel.module_types import loaded_types
from ..kernel.suggest import similar
from ..model import Function, Options, Probe
from ..session import session
from ..view.table import grouped
from ..view.tree import MOST, Tree, tell
from .words import options_of

MOST_NAMES = 100
DEEPER = (3, 2, 1)  # levels that can be opened; fewer of a large type
USAGE = "%kp struct [MODULE:]TYPE[.MEMBER…] [--depth N]"
_ASKED = re.compile(
    r"(?:(?P<module>[\w-]+):)?(?:(?P<tag>struct|union|enum) +)?(?P<type>[\w*?]+)"
    r"(?P<members>(?:(?:\.|->)[\w*?]+)*)",
    re.ASCII,
)
_NAMED = (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF)
_WILD = re.compile(r"[*?]")


class Asked(NamedTuple):
    """A type as the user names it, and the members to go down to."""

    module: str
    tag: str
    type: str
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is written in C."""
        return f"{self.tag} {self.type}".strip()


def struct(words: list[str]) -> None:
    """Show a type's members, or the types that match a pattern."""
    plain, options = options_of(words, ("depth",))
    asked = _asked(" ".join(plain))
    try:
        depth = positive(options.get("depth", 1))
    except ValueError as error:
        raise CellError(f"--depth {options['depth']}: {error}") from None
    connection = session.connection()
    if _WILD.search(asked.type):
        _tell_names(asked, connection)
        return
    found = list(_defined(asked, connection))
    if not found:
        raise _no_type(asked, connection)
    nodes: list[Node] = []
    for module, types, type_id in found:
        nodes += [Node(f"/* in module {module} */")] if module else []
        nodes += _at(types, type_id, asked, depth)
    tell(Tree(nodes))


def _asked(text: str) -> Asked:
    match = _ASKED.fullmatch(text.strip())
    if match is None:
        raise CellError(
            f"usage: {USAGE}", hint="%kp struct file.f_path; %kp struct 'ovl_*'"
        )
    members = tuple(match["members"].replace("->", ".").split(".")[1:])
    module = (match["module"] or "").replace("-", "_")
    return Asked(module, match["tag"] or "", match["type"], members)


def _types(module: str, connection: Connection) -> Iterator[tuple[str, Btf]]:
    """Yield the types of one module, or of the kernel and then those of all modules."""
    facts = connection.facts(session.progress)
    if not module:
        yield "", facts.btf
    yield from loaded_types(facts, connection.read, module)


def _defined(asked: Asked, connection: Connection) -> Iterator[tuple[str, Btf, int]]:
    """Yield where a type is defined: in the kernel, else in each module that has one."""
    for module, types in _types(asked.module, connection):
        type_id = types.type_named(asked.name)
        if type_id is not None:
            yield module if types.is_own(type_id) else "", types, type_id
            if not module:
                return


def _at(types: Btf, type_id: int, asked: Asked, depth: int) -> list[Node]:
    """Return the tree of a type, or of the members that are named behind it. Raises CellError."""
    if not asked.members:
        return [_grown(types, type_id, depth)]
    start, way = 0, asked.name
    for name in asked.members[:-1]:
        (member,) = _members(types, type_id, name, way, one=True)
        behind = strip(types, type_id).kind in (Kind.PTR, Kind.ARRAY)
        start = member.bit_offset + (0 if behind else start)
        type_id, way = member.type_id, f"{way}.{name}"
    found = _members(types, type_id, asked.members[-1], way, one=False)
    start = 0 if strip(types, type_id).kind in (Kind.PTR, Kind.ARRAY) else start
    nodes = [_alone(types, replace(each, bit_offset=start + each.bit_offset), depth)
             for each in found]  # fmt: skip
    return nodes if len(nodes) == 1 else [replace(node, open=False) for node in nodes]


def _members(types: Btf, type_id: int, name: str, way: str, *, one: bool) -> list[Member]:
    """Return the members a name or pattern stands for, at least one. Raises CellError."""
    members = types.members(type_id)
    if not members:
        raise CellError(f"{way!r} has no members: it is a '{types.declaration(type_id)}'")
    if one and _WILD.search(name):
        raise CellError(f"{name!r} may match several members: only the last name may",
                        hint=f"%kp struct '{way}.{name}' lists them")  # fmt: skip
    found = [member for member in members if fnmatchcase(member.name, name)]
    if not found:
        near = similar(name, [member.name for member in members])
        raise CellError(f"{way!r} has no member {name!r}",
                        hint=f"did you mean {', '.join(near)}?" if near
                        else f"%kp struct {way} lists them")  # fmt: skip
    return found


def _alone(types: Btf, member: Member, depth: int) -> Node:
    """Return a member, with what it is or points to inside it."""
    node = line(types, member.name, member.type_id, member.bit_offset, member.bits)
    found = unqualified(types, member.type_id)
    while found.kind in (Kind.PTR, Kind.ARRAY):
        behind = found.value if found.kind == Kind.PTR else found.extra[0][0]
        found = unqualified(types, behind)
    if found.kind not in _NAMED:
        return node
    inside = _grown(types, found.id, depth)
    return replace(node, inside=(inside,), head=node.text, open=True)


def _grown(types: Btf, type_id: int, depth: int) -> Node:
    """Return a type's tree, with as much to be opened in it as there is room for."""
    for deeper in DEEPER:
        with contextlib.suppress(TargetError):
            return tree(types, type_id, depth, deeper, MOST)
    return tree(types, type_id, depth)


def _tell_names(asked: Asked, connection: Connection) -> None:
    """Show the types that match a pattern, and where they are from. Raises SymbolError."""
    kinds = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
    nodes = []
    for module, types in _types(asked.module, connection):
        named = types.named(*kinds.get(asked.tag, _NAMED))
        own = {
            (name, type_id)
            for type_id, name in named
            if fnmatchcase(name, asked.type) and (not module or types.is_own(type_id))
        }
        comment = f"in {module}" if module else ""
        nodes += [Node(_title(types, type_id), comment) for _, type_id in sorted(own)]
    if not nodes:
        raise _no_type(asked, connection)
    more = len(nodes) - MOST_NAMES
    note = f"{MOST_NAMES} of {grouped(len(nodes))}; a narrower pattern shows the rest"
    tell(Tree([*nodes[:MOST_NAMES], *([Node(note)] if more > 0 else [])]))


def _title(types: Btf, type_id: int) -> str:
    found = types.type(type_id)
    word = "enum" if found.kind == Kind.ENUM64 else found.kind.name.lower()
    return f"{word} {found.name};"


def _no_type(asked: Asked, connection: Connection) -> SymbolError:
    facts = connection.facts(session.progress)
    where = f"module {asked.module!r}" if asked.module else f"this kernel ({facts.release})"
    near = similar(asked.type, facts.btf.names(*_NAMED)) if not _WILD.search(asked.type) else []
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return SymbolError(f"no type {asked.name!r} in {where}, nor in a module that is loaded"
                       if not asked.module else f"no type {asked.name!r} in {where}",
                       hint=f"{hint}struct NAME, union NAME, enum NAME, or a typedef's name; "
                       "%kp struct 'NA*' lists several")  # fmt: skip


def signature(words: list[str]) -> None:
    """Show a function's prototype, its parameters' types inside."""
    if len(words) != 1:
        raise CellError("usage: %kp sig [MODULE:]SYMBOL")
    connection = session.connection()
    found = _function(words[0], connection)
    if found is None:
        raise SymbolError(f"the kernel's types do not describe {words[0]!r}",
                          hint="'regs' holds its arguments by position")  # fmt: skip
    function, types, note = found
    parameters = tuple(
        _alone(types, Member(each.name, each.type_id, -1), 1) if each.type_id
        else Node(f"{each.declaration};") for each in function.parameters
    )  # fmt: skip
    inside = tuple(replace(each, open=False) for each in parameters)
    tell(Tree([Node(types.prototype(function), "", inside)], [note] if note else []))


def _function(name: str, connection: Connection) -> tuple[Function, Btf, str] | None:
    """Return a function, the types it is from and what there is to say of its name."""
    module, _, symbol = name.rpartition(":")
    facts = connection.facts(session.progress)
    if module in ("", "syscall"):
        function = None if module else facts.btf.function(symbol)
        if function is not None:
            return function, facts.btf, ""
    for where, types in loaded_types(facts, connection.read, module) if module != "syscall" else ():
        function = types.function(symbol)
        if function is not None:
            return function, types, "" if module else f"in module {where}"
    from ..gathering import facts_for
    from ..resolve import resolve

    asked = Probe("kprobe", (parse_spec(name),), None, Options())
    sites = resolve(asked, facts_for(asked, facts, connection.read, session.progress)).sites
    function = sites[0].function
    return None if function is None else (function, facts.btf, sites[0].note)
