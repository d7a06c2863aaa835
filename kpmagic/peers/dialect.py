# SPDX-License-Identifier: MIT
"""What a source in BCC's dialect says of itself: its tables, its functions, where they go."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..cell.script import Script, blanked
from ..cell.syntax import parse_spec
from ..errors import CellError

TABLE = re.compile(r"\bBPF_(?P<macro>[A-Z0-9_]+)\s*\((?P<rest>[^;{}]*)\)\s*;")
KINDS = {"PERF_OUTPUT": "perf", "RINGBUF_OUTPUT": "ring", "STACK_TRACE": "stack"}
HISTOGRAM = "HISTOGRAM"
PLAIN = ("HASH", "ARRAY", "PERCPU_HASH", "PERCPU_ARRAY")
FULL = ("TABLE", "F_TABLE")  # kind, key, leaf, name, …
# names that BCC attaches by itself, and macros that define a program
CONVENTIONS = re.compile(
    r"(?:kprobe|kretprobe|tracepoint|raw_tracepoint|kfunc|kretfunc|lsm|bpf_iter|syscall)__"
)
FUNCTION = re.compile(r"\b(?P<name>[A-Za-z_]\w*)\s*\([^(){};]*\)\s*\{")
RETURN = "%return"
PLACES_HINT = ("%%bcc SPEC attaches the cell's one function there; of several each is named: "
               "FUNCTION=SPEC, FUNCTION=SPEC%return")  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A function of the source and a place, as the user names it."""

    function: str
    spec: str
    is_return: bool


def tables_of(source: str) -> dict[str, str]:
    """Return name → kind: hash, log2, linear (histograms), perf, ring (events), stack."""
    text = blanked(source)
    found = {}
    for match in TABLE.finditer(text):
        macro, words = match["macro"], [word.strip() for word in match["rest"].split(",")]
        if macro in KINDS:
            found[words[0]] = KINDS[macro]
        elif macro == HISTOGRAM:
            found[words[0]] = _histogram(words[0], text)
        elif macro in PLAIN:
            found[words[0]] = "hash"
        elif macro in FULL and len(words) > 3:
            found[words[3]] = "hash"
    return {name: kind for name, kind in found.items() if name.isidentifier()}


def _histogram(name: str, text: str) -> str:
    """A histogram's slots are log2 where the source says so, be it in a struct's member."""
    calls = re.findall(rf"\b{name}\s*\.\s*(?:atomic_)?increment\s*\(\s*(\w+)", text)
    plain = [call for call in calls if call.startswith("bpf_log2")]
    return "log2" if plain or (calls and "bpf_log2" in text) else "linear"


def functions_of(source: str) -> list[str]:
    """Return the programs of a source that BCC does not attach by their names."""
    text = blanked(source)
    names, depth, last = [], 0, 0
    for match in re.finditer(r"[{};]", text):
        at = match.start()
        if match[0] == "{":
            head = text[last : at + 1]
            found = FUNCTION.search(head)
            if depth == 0 and found is not None and not re.search(r"\b(static|inline)\b", head):
                names.append(found["name"])
            depth += 1
        elif match[0] == "}":
            depth -= 1
        last = at + 1
    return [name for name in names if not CONVENTIONS.match(name) and not name.isupper()]


def places_of(script: Script) -> list[Wanted]:
    """Return what is attached where. Raises CellError."""
    functions = functions_of(script.text)
    found = []
    for word in script.places:
        function, equals, spec = word.rpartition("=")
        is_return = spec.endswith(RETURN)
        spec = spec.removesuffix(RETURN)
        if equals and function not in functions:
            known = ", ".join(functions) or "none that BCC does not attach by its name"
            raise CellError(f"the cell has no function {function!r}", hint=f"there are: {known}")
        if not equals and len(functions) != 1:
            raise CellError(f"which of {len(functions)} functions goes to {spec!r}?",
                            hint=PLACES_HINT)  # fmt: skip
        if parse_spec(spec).address:
            raise CellError(f"{spec!r}: BCC attaches to functions by their names")
        found.append(Wanted(function or functions[0], spec, is_return))
    left = set(functions) - {each.function for each in found}
    if left:
        raise CellError(f"{', '.join(sorted(left))}: attached nowhere",
                        hint=PLACES_HINT + "; or name it kprobe__SYMBOL")  # fmt: skip
    return found


def traces(source: str) -> bool:
    """Whether it prints into the kernel's trace."""
    return "bpf_trace_printk" in blanked(source)
