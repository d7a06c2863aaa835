# SPDX-License-Identifier: MIT
"""What can be written next in a body: names in scope, and members from the kernel's own types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..cell.body import STATEMENTS, STRINGS
from ..cell.scope import BUILTINS
from ..kernel.btf import Btf
from ..model import Function

_WORD = re.compile(r"[A-Za-z_]\w*\Z|\Z")
_TAG = re.compile(r"\b(struct|union|enum)\s+(\w*)\Z")
_CAST = re.compile(r"\(\s*(?:const\s+)?((?:struct|union)\s+\w+)\s*\*+\s*\)")
_DECLARED = r"\b((?:struct|union)\s+\w+|[A-Za-z_]\w*_t)\s*\**\s*{name}\s*[=;,\[]"
_CLOSING = {")": "(", "]": "["}


@dataclass(frozen=True)
class Scope:
    """What a body sees: the kernel's types, the probed function, whether it has returned."""

    btf: Btf
    function: Function | None
    is_return: bool = False

    def words(self) -> dict[str, str]:
        """Return name → what Jupyter calls its kind."""
        found = {p.name: "param" for p in self.function.parameters} if self.function else {}
        for builtin in BUILTINS.values():
            if self.is_return or not builtin.only_return:
                found.setdefault(builtin.name, "instance")
        return found | dict.fromkeys((*STATEMENTS, *STRINGS), "function")


@dataclass(frozen=True)
class Chain:
    """``a->b[0].c`` before the cursor: where it begins, the members named after that."""

    root: str
    members: tuple[str, ...]


def at_end(text: str, scope: Scope) -> tuple[str, Mapping[str, str]]:
    """Return the fragment ``text`` ends with and what may stand in its place, name → kind."""
    fragment = _fragment(text)
    before = text[: len(text) - len(fragment)].rstrip()
    if before.endswith(("->", ".")) and not before.endswith(".."):
        chain = chain_of(before)
        type_id = type_of(chain, scope, text) if chain else None
        members = () if type_id is None else scope.btf.members(type_id)
        return fragment, {member.name: "property" for member in members}
    return fragment, scope.words()


def tag_at_end(text: str) -> tuple[str, str] | None:
    """Return ``struct`` and the fragment behind it when ``text`` ends so."""
    match = _TAG.search(text)
    return (match[1], match[2]) if match else None


def _fragment(text: str) -> str:
    match = re.search(r"\w*\Z", text)
    word = match[0] if match else ""
    return word if _WORD.match(word) else ""


def chain_of(text: str) -> Chain | None:
    """Return the chain before a final ``->`` or ``.``; None where its type is not to be seen."""
    members: list[str] = []
    rest = text
    while True:
        rest = _without_indices(re.sub(r"(?:->|\.)\s*\Z", "", rest).rstrip())
        if rest.endswith(")"):
            inside = rest[_opening(rest) :]
            cast = _CAST.search(inside)
            return Chain(cast[1], tuple(reversed(members))) if cast else None
        name = _fragment(rest)
        if not name:
            return None
        rest = rest[: len(rest) - len(name)].rstrip()
        if not rest.endswith(("->", ".")):
            return Chain(name, tuple(reversed(members)))
        members.append(name)


def _without_indices(text: str) -> str:
    while text.endswith("]"):
        text = text[: _opening(text)].rstrip()
    return text


def _opening(text: str) -> int:
    """Return where the bracket that ends ``text`` was opened; 0 if it was not."""
    closing = text[-1]
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += (text[at] == closing) - (text[at] == _CLOSING[closing])
        if depth == 0:
            return at
    return 0


def type_of(chain: Chain, scope: Scope, text: str) -> int | None:
    """Return the BTF id of the type at the chain's end."""
    type_id = _root(chain.root, scope, text)
    for name in chain.members:
        if type_id is None:
            return None
        members = scope.btf.members(type_id)
        type_id = next((member.type_id for member in members if member.name == name), None)
    return type_id


def _root(name: str, scope: Scope, text: str) -> int | None:
    if " " in name:
        return scope.btf.type_named(name)
    declared = re.findall(_DECLARED.format(name=re.escape(name)), text)
    if declared:
        return scope.btf.type_named(declared[-1])
    parameters = scope.function.parameters if scope.function else ()
    found = next((each.type_id for each in parameters if each.name == name), None)
    return scope.btf.type_named("struct pt_regs") if found is None and name == "regs" else found
