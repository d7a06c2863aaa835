# SPDX-License-Identifier: MIT
"""Analysis → C that BCC compiles on the target: the same handlers, over maps the agent makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kpmagic import layout
from kpmagic.agent.wire import CONFIG, CPU_SIZE, GATE_SIZE
from kpmagic.backends import handlers
from kpmagic.backends.bpf import CALLS, KEYS, return_body
from kpmagic.cell.handler import Analysis, Column, Emit, Handler, Piece
from kpmagic.cell.text import widen
from kpmagic.errors import CellError
from kpmagic.model import Plan, Program, Source
from kpmagic.record import Aggregate, Layout

MAIN = "handler.bcc.c"
HEADERS = ("kpmagic.bcc.h", "kpmagic.bpf.h")
# a string of C, and whether it only fills an array; comments and characters are passed over
STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\])*'"""
    r"""|(?P<array>\]\s*=\s*)?(?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")""",
    re.DOTALL,
)
INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)

# include/uapi/linux/bpf.h: enum bpf_map_type, BPF_F_MMAPABLE
HASH, ARRAY, PERCPU_HASH, RINGBUF = 1, 2, 5, 27
MMAPABLE = 1 << 10
TOTAL_SIZE = 16  # struct kp_total of bpf/record.h
CALL_KEY_SIZE = 16  # struct kp_call_key of bpf/kpmagic.bpf.h


@dataclass(frozen=True)
class BpfMap:
    """A map that the agent makes: numbers as bpf(BPF_MAP_CREATE) takes them; sizes in bytes."""

    name: str
    type: int
    key_size: int
    value_size: int
    entries: int
    flags: int = 0


class Bcc:
    """The backend ``bcc``."""

    name = "bcc"

    def render(self, analysis: Analysis) -> Source:
        """Return the generated source and what its records look like. Raises CellError."""
        for site in analysis.plan.sites:
            if not site.symbol:
                raise CellError(f"{site.spec.text!r}: BCC attaches to functions by their names")
        analysis = one_by_one(analysis)
        layouts = handlers.layouts_of(analysis)
        aggregates = handlers.aggregates_of(analysis)
        is_return = analysis.plan.probe.kind == "kretprobe"
        text = "\n".join(_file(analysis, layouts, aggregates, layout.record_size(layouts)))
        return Source(
            {MAIN: widen(text)},
            MAIN,
            layouts,
            layout.record_size(layouts),
            aggregates,
            tuple(_programs(analysis, is_return)),
            "kp_calls" if is_return else "",
            analysis.left_out,
        )


def maps(source: Source, cpus: int) -> list[BpfMap]:
    """Return the maps of a rendered source for a machine of ``cpus``; the ring's size is open."""
    wide = 1 << (cpus - 1).bit_length()
    found = [
        BpfMap("kp_config", ARRAY, 4, CONFIG.size, 1),
        BpfMap("kp", ARRAY, 4, GATE_SIZE + wide * CPU_SIZE, 1, MMAPABLE),
        BpfMap("kp_ring", RINGBUF, 0, 0, 0),
    ]
    for table in source.aggregates:
        found.append(BpfMap(table.map, PERCPU_HASH, table.key_size, TOTAL_SIZE, KEYS))
        found.append(BpfMap(f"{table.map}_keys", ARRAY, 4, table.key_size * wide, 1))
    if source.entries:
        words = re.search(r"struct kp_call \{\n\t__u64 ts;\n\t__u64 words\[(\d+)\]", source.text)
        size = 8 + 8 * int(words[1]) if words else 16
        found.append(BpfMap(source.entries, HASH, CALL_KEY_SIZE, size, CALLS))
    return found


def whole(source: Source, headers: Path) -> str:
    """Return the source as one text, with the headers of kpmagic in it."""

    def text_of(match: re.Match[str]) -> str:
        path = headers / match[1]
        text = INCLUDE.sub(text_of, path.read_text(encoding="utf-8"))
        return f'#line 1 "{match[1]}"\n{text}\n'

    return INCLUDE.sub(text_of, source.text)


def one_by_one(analysis: Analysis) -> Analysis:
    """Return a handler for each site: BCC cannot tell a program where it is attached."""
    sites = analysis.plan.sites
    found = tuple(replace(_on_stack(handler, analysis.plan), numbers=(number,), site=sites[number],
                          multi=False)
                  for handler in analysis.handlers for number in handler.numbers)  # fmt: skip
    return replace(analysis, handlers=found)


def _on_stack(handler: Handler, plan: Plan) -> Handler:
    """Return a handler whose strings lie on the stack, where its columns are made of any.

    BCC loads no section of constants: a pointer into one would lead to nothing, and say nothing.
    Raises CellError for one of the user's own.
    """
    line = plan.probe.body_line
    pieces: list[Piece] = []
    for piece in handler.pieces:
        if isinstance(piece, str):
            _check_strings(piece, plan, line)
            line += piece.count("\n")
            pieces.append(piece)
            continue
        line += piece.lines
        if isinstance(piece, Emit):
            pieces.append(replace(piece, columns=tuple(map(_column, piece.columns))))
        else:
            value = None if piece.value is None else _column(piece.value)
            pieces.append(replace(piece, keys=tuple(map(_column, piece.keys)), value=value))
    _check_strings(handler.where, plan, 1)
    return replace(handler, pieces=tuple(pieces))


def _check_strings(code: str, plan: Plan, line: int) -> None:
    for match in STRING.finditer(code):
        if match["text"] and not match["array"]:
            raise CellError(
                f"{match['text']} behind a pointer: BCC loads no constants",
                hint='write char text[] = "…", or use --backend bpf',
                place=plan.probe.place(line + code.count("\n", 0, match.start())),
            )


def _column(column: Column) -> Column:
    def on_stack(match: re.Match[str]) -> str:
        return f"((char[]){{{match['text']}}})" if match["text"] else match[0]

    return replace(column, code=STRING.sub(on_stack, column.code))


def _programs(analysis: Analysis, is_return: bool) -> Iterator[Program]:
    sites = analysis.plan.sites
    for suffix in ("", "_entry") if is_return else ("",):
        for handler in analysis.handlers:
            site = sites[handler.number]
            yield Program(f"kp_{handler.number}{suffix}", site.symbol, site.offset, site.address,
                          is_return and not suffix, optional=site.spec.wild)  # fmt: skip


def _file(
    analysis: Analysis, layouts: tuple[Layout, ...], aggregates: tuple[Aggregate, ...], size: int
) -> Iterator[str]:
    plan = analysis.plan
    is_return = plan.probe.kind == "kretprobe"
    yield "// SPDX-License-Identifier: GPL-2.0-only OR MIT"
    yield f"// generated by kpmagic for BCC on Linux {plan.release}"
    yield "".join(f'#include "{name}"\n' for name in HEADERS)
    yield f"#define KP_CPUS {handlers.cpus_of(plan)}\n#define KP_RECORD {size}"
    yield '#include "frame.bpf.h"\n'
    for shape in layouts:
        yield from handlers.row(shape)
    for table in aggregates:
        yield from handlers.key(table)
        yield f"#define {table.map} KP_MAP({table.map})"
        keys = f"{table.map}_keys"
        yield f"#define {keys} (&KP_VARIABLE(struct {table.map}_key, {keys}))\n"
    if is_return:
        yield from handlers.call(analysis)
        yield "#define kp_calls KP_MAP(kp_calls)\n"
    for handler in analysis.handlers:
        yield from handlers.function(plan, handler, MAIN)
        yield from _return_programs(plan, handler) if is_return else _entry_program(handler)


def _entry_program(handler: Handler) -> Iterator[str]:
    yield f"""int kp_{handler.number}(struct pt_regs *regs)
{{
	struct kp_hit hit = {{ .site = {handler.number} }};

	if (kp_watching(&hit) && kp_begin(&hit))
		kp_body_{handler.number}(&hit, regs);
	return 0;
}}
"""


def _return_programs(plan: Plan, handler: Handler) -> Iterator[str]:
    number = handler.number
    hit = f"struct kp_hit hit = {{ .site = {number} }};"
    yield f"int kp_{number}_entry(struct pt_regs *kp_regs)"
    yield return_body(plan, handler, hit, "KP_RETURN_SP")[0]
    yield f"int kp_{number}(struct pt_regs *regs)"
    yield return_body(plan, handler, hit, "KP_RETURN_SP")[1]
