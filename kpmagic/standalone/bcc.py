# SPDX-License-Identifier: MIT
"""A cell as a Python script on BCC: its C over the kernel's headers, and what reads its maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from .. import layout
from ..analysis.analyse import Analyser, analyse
from ..backends import calls, handlers
from ..backends.bcc import one_by_one
from ..backends.bpf import CALLS, KEYS
from ..cell.body import INJECTIONS, scan
from ..cell.handler import Add, Analysis, Emit, Handler, Piece
from ..cell.sections import MARK
from ..cell.text import narrow, widen
from ..cell.values import ring_size
from ..compiler.toolchain import bpf_directory
from ..errors import CellError
from ..model import Plan
from ..record import Aggregate, Field, Layout
from ..rows.recording import site_name
from . import defined, folder
from .statements import Untranslatable, check_places

LANGUAGE = "bcc"
PAGE = 4096
PROBE = re.compile(r"^# probe: begin\n.*?^# probe: end\n", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^#line .*\n", re.MULTILINE)
OURS = re.compile(r'^#include ".*\n', re.MULTILINE)


def script(plan: Plan, compiler: Analyser, types: str, build: Callable[[], Path]) -> str:
    """Return the script. Raises CellError for what BCC has no equivalent for.

    ``types`` is the kernel's vmlinux.h, ``build`` finds the folder that its modules are built in.
    """
    no = Untranslatable(plan, narrow(plan.probe.body or ""), LANGUAGE)
    _refuse(plan, no)
    probe = replace(plan.probe, options=replace(plan.probe.options, backend="bcc"))
    analysis = one_by_one(analyse(replace(plan, probe=probe), compiler))
    layouts, tables = handlers.layouts_of(analysis), handlers.aggregates_of(analysis)
    text = widen("\n".join(_text(analysis, layouts, tables)))
    headers, missing = defined.includes(types, text, build)
    if missing:
        raise CellError(f"no header of this kernel defines {missing[0]!r}, and BCC knows headers "
                        "only", hint="--as libbpf writes any cell")  # fmt: skip
    includes = "".join(f"#include <{name}>\n" for name in ["uapi/linux/ptrace.h", *headers])
    told = "\n".join(_told(analysis, layouts, tables, includes + "\n" + text))
    program = (bpf_directory() / "standalone.bcc.py").read_text(encoding="utf-8")
    return PROBE.sub(lambda match: told + "\n", program)


def _refuse(plan: Plan, no: Untranslatable) -> None:
    """Raise CellError for what only a module does, and for places without a name."""
    body = plan.probe.body or ""
    for match in re.finditer(rf"^\s*{MARK}\s*$", body, re.MULTILINE):
        raise no.error(MARK, len(narrow(body[: match.start()])))
    for call in scan(narrow(body), plan.probe.body_line, plan.probe.cell).calls:
        if call.word in INJECTIONS:
            raise no.error(f"{call.word}()", call.start)
    check_places(plan, no)


def _text(
    analysis: Analysis, layouts: tuple[Layout, ...], tables: tuple[Aggregate, ...]
) -> Iterator[str]:
    """Yield the C that BCC compiles, but for the kernel's headers."""
    plan = analysis.plan
    options = plan.probe.options
    yield f"#define KP_SAMPLE {options.sample}"
    for name in ("record.h", "standalone.bcc.h", "body.h"):
        yield OURS.sub("", (bpf_directory() / name).read_text(encoding="utf-8"))
    if layouts:
        yield f"BPF_RINGBUF_OUTPUT(kp_rows, {ring_size(options.buffer) // PAGE});\n"
    for shape in layouts:
        yield from handlers.row(shape)
    for table in tables:
        yield from handlers.key(table)
        yield from _table(table)
    if plan.probe.kind == "kretprobe":
        yield from handlers.call(analysis)
        yield f"BPF_HASH(kp_calls, struct kp_call_key, struct kp_call, {CALLS});\n"
    yield from _wanted(plan)
    for handler in analysis.handlers:
        yield LINE.sub("", "\n".join(handlers.function(plan, handler, "", _render)) + "\n")
        yield _returns(plan, handler) if plan.probe.kind == "kretprobe" else _entry(handler)


def _table(table: Aggregate) -> Iterator[str]:
    """Yield a map of running totals, room for a key on each CPU, and how a total is found."""
    key = f"struct {table.map}_key"
    yield f"""BPF_PERCPU_ARRAY({table.map}_keys, {key}, 1);
BPF_TABLE("percpu_hash", {key}, struct kp_total, {table.map}, {KEYS});

static __always_inline struct kp_total *{table.map}_total(struct kp_hit *hit, {key} *key)
{{
	struct kp_total none = {{}};
	struct kp_total *total = {table.map}.lookup(key);

	if (total)
		return total;
	{table.map}.insert(key, &none);
	total = {table.map}.lookup(key);
	if (!total)
		hit->cpu->dropped++;
	return total;
}}
"""


def _wanted(plan: Plan) -> Iterator[str]:
    """Yield what counts a hit, and says whether the options want it."""
    options = plan.probe.options
    tests = ["bpf_get_current_cgroup_id() != KP_CGROUP"] * options.follow
    tests += [f"hit->id >> 32 != {options.pid}"] * bool(options.pid)
    tests += [f"hit->number != {options.cpu}"] * (options.cpu >= 0)
    yield "static __always_inline bool kp_wanted(struct kp_hit *hit)\n{"
    if options.comm:
        name = options.comm.encode()[:15].ljust(16, b"\0")
        yield "\t__u64 comm[2] = {};\n\n\tbpf_get_current_comm(comm, sizeof(comm));"
        tests += [f"comm[{at}] != {int.from_bytes(name[8 * at :][:8], 'little'):#x}ULL"
                  for at in (0, 1)]  # fmt: skip
    condition = " || ".join(tests) or "false"
    yield f"""	hit->cpu->hits++;
	if ({condition}) {{
		hit->cpu->filtered++;
		return false;
	}}
	return true;
}}
"""


def _render(piece: Piece) -> str:
    """Return a piece of a body as C, on as many lines as it took in the cell."""
    if isinstance(piece, str):
        return piece
    parts = _emit(piece) if isinstance(piece, Emit) else _add(piece)
    return "({ " + " ".join(parts) + " })" + "\n" * piece.lines


def _emit(emit: Emit) -> Iterator[str]:
    row = f"struct kp_row_{emit.row}"
    yield f"{row} *kp_r = kp_rows.ringbuf_reserve(sizeof({row}));"
    yield f"if (kp_r) {{ kp_named_head(kp_hit, &kp_r->header, kp_ts, {emit.row});"
    for column in emit.columns:
        yield calls.store(column, f"kp_r->{layout.c_name(column.name)}")
    yield "kp_rows.ringbuf_submit(kp_r, BPF_RB_NO_WAKEUP); kp_hit->cpu->rows++; }"
    yield "else kp_hit->cpu->dropped++;"


def _add(add: Add) -> Iterator[str]:
    table = add.aggregate
    yield f"int kp_zero = 0; struct {table.map}_key *kp_k = {table.map}_keys.lookup(&kp_zero);"
    yield "if (kp_k) {"
    yield from calls.filled(add)
    yield f"struct kp_total *kp_t = {table.map}_total(kp_hit, kp_k);"
    yield f"if (kp_t) {calls.update(table)}; }}"


def _entry(handler: Handler) -> str:
    return f"""int kp_{handler.number}(struct pt_regs *regs)
{{
	struct kp_hit hit = {{ .site = {handler.number} }};

	if (kp_watching(&hit) && kp_wanted(&hit))
		kp_body_{handler.number}(&hit, regs);
	return 0;
}}
"""


def _returns(plan: Plan, handler: Handler) -> str:
    """Return the two programs of a return probe. At a return the address has been popped."""
    number = handler.number
    words = ", ".join(handlers.words(plan, handler)) or "0"
    return f"""int kp_{number}_entry(struct pt_regs *kp_regs)
{{
	struct kp_hit hit = {{ .site = {number} }};

	if (!kp_watching(&hit))
		return 0;
	struct kp_call_key key = {{ .tid = hit.id, .site = {number}, .sp = kp_regs->sp }};
	struct kp_call call = {{ .words = {{ {words} }} }};
	call.ts = bpf_ktime_get_ns();
	hit.cpu->entries++;
	if (kp_calls.insert(&key, &call)) {{
		hit.cpu->unpaired++;
		if (kp_calls.lookup(&key))
			kp_calls.update(&key, &call);
	}}
	return 0;
}}

int kp_{number}(struct pt_regs *regs)
{{
	struct kp_hit hit = {{ .site = {number} }};

	if (!kp_watching(&hit))
		return 0;
	struct kp_call_key key = {{ .tid = hit.id, .site = {number}, .sp = regs->sp - 8 }};
	struct kp_call *found = kp_calls.lookup(&key);
	if (!found)
		return 0; /* began before the probe was there, or the table was full */
	struct kp_call call = *found;
	kp_calls.delete(&key);
	if (kp_wanted(&hit))
		kp_body_{number}(&hit, regs, &call);
	return 0;
}}
"""


def _told(
    analysis: Analysis, layouts: tuple[Layout, ...], tables: tuple[Aggregate, ...], text: str
) -> Iterator[str]:
    """Yield what the program is told of this probe."""
    plan = analysis.plan
    options = plan.probe.options
    is_return = plan.probe.kind == "kretprobe"
    seconds = -(-options.duration // 10**9) if options.duration is not None else 0
    yield f"# exported by kpmagic, for Linux {plan.release}: the probe"
    yield f"TEXT = {text!r}" if "'''" in text else f"TEXT = r'''{text}'''"
    yield f"MAX_ROWS, SECONDS, FOLLOW = {options.max_events}, {seconds}, {options.follow}"
    yield f"ENTRIES, MAXACTIVE = {is_return}, {options.maxactive}"
    yield from _list("PROGRAMS", (_program(plan, handler, suffix)
                                  for suffix in (("", "_entry") if is_return else ("",))
                                  for handler in analysis.handlers))  # fmt: skip
    yield from _list("PLACES", map(repr, map(site_name, plan.sites)))
    yield from _list("SHAPES", (repr(_fields(each.fields)) for each in layouts))
    yield from _list("TABLES", map(repr, map(_described, tables)))


def _list(name: str, items: Iterator[str]) -> Iterator[str]:
    yield f"{name} = ["
    yield from (f"    {item}," for item in items)
    yield "]"


def _program(plan: Plan, handler: Handler, suffix: str) -> str:
    site = plan.sites[handler.number]
    is_return = plan.probe.kind == "kretprobe" and not suffix
    return repr((f"kp_{handler.number}{suffix}", site.symbol, site.offset, is_return))


def _described(each: Aggregate) -> tuple[object, ...]:
    is_signed = each.value is not None and each.value.signed
    return (each.map, each.label, each.function, each.key_size, is_signed,
            each.low, each.high, each.step, _fields(each.keys))  # fmt: skip


def _fields(fields: tuple[Field, ...]) -> list[tuple[object, ...]]:
    return [folder.described(each) for each in fields]
