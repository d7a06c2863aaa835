# SPDX-License-Identifier: MIT
"""What a handler in a module may not do, where no verifier looks at it.

Source: Documentation/trace/kprobes.rst, section 'Kprobes Features and Limitations': handlers run
with preemption disabled, and may run with interrupts disabled; they must not sleep or wait.
That a generated handler's body writes nothing of the kernel's is seen by `analysis`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from kpmagic.cell.body import scan
from kpmagic.cell.marked import with_values
from kpmagic.cell.sections import without_mark
from kpmagic.cell.text import narrow, place_of
from kpmagic.errors import BuildError, CellError, KpmagicError
from kpmagic.model import Module, Probe

SOURCE = "Documentation/trace/kprobes.rst"
_COMMENT = re.compile(
    r"//(?:\\[ \t\r\f\v]*\n|[^\n])*|/\*.*?\*/"
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
# for (;;), for (a; ; b), while (1), while (true): nothing in the head ends them
_ENDLESS = re.compile(
    r"\bfor\s*\([^;()]*;\s*;[^()]*\)|\bwhile\s*\(\s*(?:0[xX])?0*[1-9][0-9a-fA-F]*\s*\)"
    r"|\bwhile\s*\(\s*true\s*\)"
)
_GOTO = re.compile(r"\bgoto\b")
_CALLS = (
    (r"msleep\w*|ssleep|usleep_range\w*|fsleep|schedule\w*|cond_resched|might_sleep|down\w*|wait_\w+"
     r"|synchronize_\w+|flush_work\w*|mutex_lock\w*|complete_all|filp_open|kernel_read|kernel_write",
     "may sleep, and a handler runs with preemption off"),
    (r"k[mzc]alloc\w*|k?vmalloc\w*|kvzalloc\w*|krealloc\w*|kstrn?dup|kasprintf|kmem_cache_alloc\w*"
     r"|__get_free_pages?|alloc_pages?\w*|alloc_percpu\w*",
     "allocates: it may sleep, and the allocator may be what was interrupted"),
    (r"(?:raw_)?spin_(?:try)?lock\w*|(?:read|write)_(?:try)?lock\w*|down_(?:read|write)\w*",
     "waits for a lock that whoever was interrupted may hold: then nobody goes on"),
    (r"__(?:sync|atomic|c11_atomic)_\w+|__builtin_(?:mem|str|stp|b?zero|bcopy|bcmp)\w*",
     "reads or writes memory as it is, and a bad address is the end of the machine"),
    (r"copy_(?:from|to)_user\w*|__?(?:get|put)_user\w*|(?:get|put)_user|strn?cpy_from_user"
     r"|clear_user",
     "touches memory of a process, which may have to be fetched first: that sleeps"),
)  # fmt: skip
CALLS = tuple((re.compile(rf"\b({names})\s*\("), why) for names, why in _CALLS)
# struct kprobe, struct kretprobe: what they are given to call
_HANDLER = re.compile(r"\.\s*(?:pre_handler|post_handler|entry_handler|handler)\s*=\s*&?\s*(\w+)")


class Wrong(NamedTuple):
    """Something a handler may not do: where, what, and what to do instead."""

    offset: int
    message: str
    hint: str = ""
    error: type[KpmagicError] = CellError


def check(probe: Probe) -> None:
    """Refuse a body that would stop the machine.

    Raises BuildError for a call, as the bpf backend does, and CellError for a loop without an end.
    """
    if probe.body is not None:
        body = narrow(without_mark(probe.body))
        section = with_values(scan(body, probe.body_line, probe.cell), probe)
        for wrong in _wrong(_blanked(section.text)):
            _refuse(probe, body, wrong, section.back(wrong.offset))


def warnings(module: Module) -> list[str]:
    """Return what the handlers of a whole module do that they may not, at lines of the cell."""
    text = _blanked(module.source)
    names = dict.fromkeys(match[1] for match in _HANDLER.finditer(text))
    return [
        f"{module.place_of(start + wrong.offset)}: {name}: {wrong.message} ({SOURCE})".replace(
            "\n", " "
        )
        for name in names
        for start, body in _function(text, name)
        for wrong in _wrong(body)
    ]


def _blanked(text: str) -> str:
    """Return C with blanks for comments and strings."""
    return _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _wrong(text: str) -> Iterator[Wrong]:
    bounded = "count in the loop's head: for (i = 0; i < 16; i++)"
    for match in _ENDLESS.finditer(text):
        yield Wrong(match.start(), "this loop has no end that can be seen: in a handler it stops "
                    "the machine", bounded)  # fmt: skip
    for match in _GOTO.finditer(text):
        yield Wrong(match.start(), "a goto can make a loop that has no end", bounded)
    for pattern, why in CALLS:
        for match in pattern.finditer(text):
            yield Wrong(match.start(), f"{match[1]}() {why}",
                        "a handler reads memory and calls kpmagic's words", BuildError)  # fmt: skip


def _function(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield where the body of a function begins, and the body."""
    head = re.search(rf"\b{re.escape(name)}\s*\([^;{{}}]*\)[^;{{}}]*\{{", text)
    if head is None:
        return
    depth = 1
    for match in re.finditer(r"[{}]", text[head.end() :]):
        depth += 1 if match[0] == "{" else -1
        if not depth:
            yield head.end(), text[head.end() : head.end() + match.start()]
            return


def _refuse(probe: Probe, body: str, wrong: Wrong, offset: int) -> NoReturn:
    hint = f"a handler runs with preemption off and must soon be done ({SOURCE})"
    raise wrong.error(
        wrong.message,
        hint=f"{wrong.hint}\n{hint}",
        place=place_of(body, offset, probe.body_line, probe.cell),
    )
