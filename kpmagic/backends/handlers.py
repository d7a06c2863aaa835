# SPDX-License-Identifier: MIT
"""A handler's body as a C function: the same in every way into the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kpmagic import layout
from kpmagic.backends import calls
from kpmagic.cell.grouping import arguments
from kpmagic.cell.handler import Analysis, Handler, Piece
from kpmagic.cell.scope import in_scope
from kpmagic.model import Parameter, Plan, Site
from kpmagic.record import Aggregate, Layout

CELL = "cell"  # not the cell's own name: the same cell run again must be the same source
WHERE = "\tif (!("  # what stands before the condition of --where

_INITIAL = {
    "pid": "kp_hit->id >> 32",
    "tid": "kp_hit->id",
    "uid": "bpf_get_current_uid_gid()",
    "cpu": "bpf_get_smp_processor_id()",
    "ts": "kp_ts",
    "regs": "kp_regs",
    "latency": "kp_ts - kp_call->ts",
    "func": '"{symbol}"',
}


def layouts_of(analysis: Analysis) -> tuple[Layout, ...]:
    """Return where each field of each shape of row lies."""
    return tuple(
        layout.record(emit.row, ((column.name, column.type) for column in emit.columns))
        for emit in analysis.emits
    )


def aggregates_of(analysis: Analysis) -> tuple[Aggregate, ...]:
    """Return every aggregation once."""
    found = {add.aggregate.map: add.aggregate for h in (*analysis.handlers, *analysis.posts)
             for add in h.adds}  # fmt: skip
    return tuple(found.values())


def cpus_of(plan: Plan) -> int:
    """Return a power of two that no processor's number reaches."""
    return 1 << (plan.cpus - 1).bit_length()


def asks_name(handler: Handler) -> bool:
    """Whether the name of the function is known only when it is hit."""
    return "func" in handler.uses and len(handler.numbers) > 1


def names(plan: Plan) -> Iterator[str]:
    """Yield the names of all sites, by number."""
    size = layout.round_up(max(len(site.symbol) for site in plan.sites) + 1, 8)
    yield f'static const char kp_names[KP_SITES][{size}] SEC(".rodata.names") = {{'
    yield from (f'\t"{site.symbol}",' for site in plan.sites)
    yield "};\n"


def row(shape: Layout) -> Iterator[str]:
    """Yield the struct of a row, and the proof that its fields lie where they should."""
    yield f"struct kp_row_{shape.row} {{\n\tstruct kp_header header;"
    for field in shape.fields:
        yield f"\t{layout.declare(field)};"
    yield "};"
    for field in shape.fields:
        where = f"__builtin_offsetof(struct kp_row_{shape.row}, {layout.c_name(field.name)})"
        yield f'_Static_assert({where} == {field.offset}, "layout of {field.name}");'
    yield ""


def key(table: Aggregate) -> Iterator[str]:
    """Yield the struct of an aggregation's key."""
    yield f"struct {table.map}_key {{"
    for field in table.keys:
        yield f"\t{layout.declare(field)};"
    yield "\t__s32 bucket __attribute__((aligned(8)));\n\t__u32 pad;\n};"
    yield f'_Static_assert(sizeof(struct {table.map}_key) == {table.key_size}, "layout of a key");'


def words(plan: Plan, handler: Handler) -> list[str]:
    """Return the C of all words, at entry, of the arguments that a body uses."""
    return [word for _, words in _used(plan, handler) for word in words]


def call(analysis: Analysis) -> Iterator[str]:
    """Yield the struct that keeps the entry arguments a body uses from entry to return."""
    most = max(1, *(len(words(analysis.plan, each)) for each in analysis.handlers))
    yield f"struct kp_call {{\n\t__u64 ts;\n\t__u64 words[{most}];\n}};"


def _used(plan: Plan, handler: Handler) -> list[tuple[Parameter, list[str]]]:
    """Return the parameters that a body uses, each with the C of its words at entry."""
    known = arguments(plan, handler.site)
    return [(parameter, words) for parameter, words in known if parameter.name in handler.uses]


def function(
    plan: Plan, handler: Handler, file: str, render: Callable[[Piece], str] = calls.render
) -> Iterator[str]:
    """Yield the function of a body, ``kp_body_N``, and the way back to the generated ``file``.

    ``render`` makes C of a piece of the body.
    """
    call = ", const struct kp_call *kp_call" if plan.probe.kind == "kretprobe" else ""
    yield (
        f"static __always_inline void {name(handler)}("
        f"struct kp_hit *kp_hit, struct pt_regs *kp_regs{call})\n{{"
    )
    yield from _arguments(plan, handler)
    yield from _locals(plan, handler)
    if handler.section != "post":
        yield from _filters(handler)
    yield "{"
    yield f'#line {plan.probe.body_line} "{CELL}"'
    yield "".join(render(piece) for piece in handler.pieces)
    yield f';}}\n#line 1 "{file}"\n}}\n'


def name(handler: Handler, what: str = "body") -> str:
    """Return the name of a handler's function: ``kp_body_0``, ``kp_body_post_0``."""
    return f"kp_{what}_{'post_' if handler.section == 'post' else ''}{handler.number}"


def _filters(handler: Handler) -> Iterator[str]:
    if handler.where:
        yield f'#line 1 "{CELL}"'
        end = "\n" if "//" in handler.where else ""  # of a comment in it
        yield f"{WHERE}{handler.where}{end})) {{ kp_hit->cpu->filtered++; return; }}"
    yield "\tif (kp_sampled_out(kp_hit)) return;"
    if handler.section:
        yield "\tkp_hit->wanted = 1;"


def _arguments(plan: Plan, handler: Handler) -> Iterator[str]:
    at = 0
    for parameter, words in _used(plan, handler):
        if plan.probe.kind == "kretprobe":
            words, at = [f"kp_call->words[{at + i}]" for i in range(len(words))], at + len(words)
        yield f"\tKP_LOCAL {parameter.declaration};"
        yield f"\tKP_ARGUMENT({parameter.name}, {', '.join(words)});"


def _locals(plan: Plan, handler: Handler) -> Iterator[str]:
    declarations = in_scope(plan, handler.site)
    used = [name for name in declarations if name in handler.uses]
    if handler.emits or "ts" in used or "latency" in used:
        yield "\t__u64 kp_ts = bpf_ktime_get_ns();"
    for name in used:
        if name == "comm":
            yield "\tchar comm[16] __attribute__((aligned(8)));\n\tkp_comm(kp_hit, comm);"
            continue
        if name == "func" and asks_name(handler):
            yield f"\tKP_LOCAL {declarations[name]};"
            yield "\tif (kp_hit->site >= KP_SITES) return;"
            yield "\t__builtin_memcpy(func, kp_names[kp_hit->site], sizeof(func));"
            continue
        if name == "retval":
            yield from _returned(handler.site, declarations[name])
            continue
        initial = _INITIAL[name].format(symbol=handler.site.symbol)
        yield f"\tKP_LOCAL {declarations[name]} = {initial};"


def _returned(site: Site, declaration: str) -> Iterator[str]:
    """Yield the variable ``retval``: as many bytes as the type has, for those above are anything.

    A struct comes back in two registers, or in memory whose address ax has (System V ABI, 3.2.3).
    """
    size = site.function.returns_size if site.function is not None else 8
    yield f"\tKP_LOCAL {declaration};"
    if size > 16:
        yield "\tbpf_probe_read_kernel(&retval, sizeof(retval), (const void *)kp_regs->ax);"
    else:
        words = "kp_regs->ax, kp_regs->dx" if size > 8 else "kp_regs->ax"
        yield f"\tKP_ARGUMENT(retval, {words});"
