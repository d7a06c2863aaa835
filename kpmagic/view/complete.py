# SPDX-License-Identifier: MIT
"""Help while typing: what may stand at the cursor of a cell, from what is known of the kernel.

It asks the target nothing: without facts there are options and subcommands, and no names.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..cell.options import BY_FLAG, OPTIONS, is_of
from ..cell.syntax import parse_spec
from ..errors import KpmagicError
from ..kernel.btf_types import Kind
from ..model import Function, Options, Probe
from ..resolve import resolve
from .complete_body import Scope, at_end, tag_at_end
from .complete_names import MOST, Names

if TYPE_CHECKING:
    from ..kernel.facts import KernelFacts

_MAGIC = re.compile(r"(%{1,2})(kprobe|kretprobe|kmodule|kp)\b[ \t]?(.*)", re.DOTALL)
KINDS = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
Kinds = Mapping[str, str]


@dataclass(frozen=True)
class Known:
    """What completion may use: subcommand → the values it takes, and a kernel's facts."""

    facts: KernelFacts | None = None
    probes: tuple[str, ...] = ()
    subcommands: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """``fragment`` before the cursor may become one of ``words``, name → Jupyter's kind."""

    fragment: str = ""
    words: Kinds = field(default_factory=dict)


NOTHING = Offer()


def complete(full_text: str, line: int, column: int, known: Known) -> Offer:
    """Return what may stand at 0-based ``line`` and ``column`` of a cell."""
    lines = full_text.split("\n")
    first = _MAGIC.match(lines[0])
    before = lines[line][:column]
    if first and first[1] == "%%" and line > 0:
        body = "\n".join([*lines[1:line], before])
        return in_body(body, first[2], first[3], known)
    match = _MAGIC.match(before.lstrip())
    if match is None or not before[match.end(2) - len(before.lstrip()) :][:1].isspace():
        return NOTHING
    if match[2] == "kp":
        return in_command(match[3], known)
    return in_line(match[3], known, match[2])


def in_line(text: str, known: Known, magic: str) -> Offer:
    """Return what may stand at the end of a probe magic's line: an option, a value, a place."""
    if text.count("'") % 2 or text.count('"') % 2 or " #" in text:
        return NOTHING
    words = text.split()
    fragment = "" if text[-1:].isspace() or not words else words.pop()
    flag, equals, value = fragment.partition("=")
    if equals and flag in BY_FLAG:
        return offer(value, values_of(flag), "keyword")
    if words and words[-1] in BY_FLAG and BY_FLAG[words[-1]].parse is not None:
        return offer(fragment, values_of(words[-1]), "keyword")
    if fragment.startswith("-"):
        given = {BY_FLAG[word].field for word in words if word in BY_FLAG}
        left = [option.flag or option.short for option in OPTIONS
                if is_of(option, magic)
                and (option.field not in given or option.field == "defines")]  # fmt: skip
        return offer(fragment, left, "keyword")
    return NOTHING if magic == "kmodule" else functions(fragment, known)


def values_of(flag: str) -> list[str]:
    """Return the words an option takes, where they are a choice of some."""
    choice = BY_FLAG[flag].metavar
    return choice.split("|") if choice.islower() else []


def in_command(text: str, known: Known) -> Offer:
    """Return what may stand at the end of a ``%kp`` line."""
    name, blank, rest = text.lstrip().partition(" ")
    if not blank:
        return offer(name, known.subcommands, "keyword")
    if name == "struct":
        return types(rest.lstrip(), known)
    fragment = rest.split(" ")[-1]
    if name in ("sig", "symbols"):
        return functions(fragment.lstrip("'\""), known)
    if "NAME" in known.subcommands.get(name, ""):
        return offer(fragment, known.probes, "instance")
    return NOTHING


def in_body(body: str, magic: str, line: str, known: Known) -> Offer:
    """Return what may stand at the end of a body."""
    if known.facts is None:
        return NOTHING
    tag = tag_at_end(body)
    if tag is not None:
        return types(f"{tag[0]} {tag[1]}", known)
    if magic == "kmodule":
        return NOTHING  # a whole C file, with its own headers
    scope = Scope(known.facts.btf, function_of(line, known.facts), magic == "kretprobe")
    fragment, found = at_end(body, scope)
    return Offer(fragment, {name: kind for name, kind in sorted(found.items())
                            if name.startswith(fragment)})  # fmt: skip


def function_of(line: str, facts: KernelFacts) -> Function | None:
    """Return the first function a magic line names, by its present name."""
    word = next((word for word in line.split() if not word.startswith("-")), "")
    with contextlib.suppress(KpmagicError):
        spec = parse_spec(word)
        found = facts.btf.function(spec.symbol) if spec.symbol else None
        if found is None and not set("*?[") & set(spec.symbol):
            found = resolve(Probe("kprobe", (spec,), None, Options()), facts).sites[0].function
        return found
    return None


def offer(fragment: str, words: Iterable[str], kind: str) -> Offer:
    """Return those of ``words`` that begin with ``fragment``."""
    return Offer(fragment, {word: kind for word in words if word.startswith(fragment)})


def functions(fragment: str, known: Known) -> Offer:
    """Return functions that can be probed."""
    if known.facts is None or ":" in fragment or "+" in fragment:
        return NOTHING
    return Offer(fragment, dict.fromkeys(_function_names(known.facts).starting(fragment),
                                         "function"))  # fmt: skip


def types(text: str, known: Known) -> Offer:
    """Return types: ``struct fi`` becomes ``struct file``; of plain text the tags as well."""
    tag, _, fragment = text.rpartition(" ")
    if known.facts is None or (tag and tag not in KINDS):
        return NOTHING
    if not tag and text and any(each.startswith(text) for each in KINDS):
        return offer(text, KINDS, "keyword")
    names = _type_names(known.facts, tag or "struct").starting(fragment, MOST)
    return Offer(fragment, dict.fromkeys(names, "class"))


_last: dict[str, tuple[KernelFacts, Names]] = {}


def _function_names(facts: KernelFacts) -> Names:
    return _kept("function", facts, facts.functions)


def _type_names(facts: KernelFacts, tag: str) -> Names:
    return _kept(tag, facts, lambda: facts.btf.names(*KINDS[tag]))


def _kept(what: str, facts: KernelFacts, names: Callable[[], Iterable[str]]) -> Names:
    """Return sorted names, kept for the kernel that was asked for last."""
    kept = _last.get(what)
    if kept is None or kept[0] is not facts:
        kept = _last[what] = (facts, Names(names()))
    return kept[1]
