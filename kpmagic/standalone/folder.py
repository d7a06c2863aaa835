# SPDX-License-Identifier: MIT
"""What folders of C share: the program that prints, and probe.h, which tells it of one probe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..agent.wire import FILTERED, SAMPLED
from ..cell.values import ring_size
from ..compiler.toolchain import bpf_directory
from ..kernel.pruned import pruned
from ..model import Plan, Program, Source
from ..record import Aggregate, Field
from ..rows.recording import site_name

INCLUDE = re.compile(r'^#include "([\w.]+)"', re.MULTILINE)
FUNCTIONS = {"count": "c", "sum": "s", "avg": "a", "min": "m", "max": "M", "hist": "h",
             "lhist": "l"}  # fmt: skip
KINDS = {"string": "s", "pointer": "x", "kstack": "x", "ustack": "x"}


def program(plan: Plan, source: Source, way: str) -> dict[str, str]:
    """Return path → text of the program; ``way`` into the kernel is ``libbpf`` or ``module``."""
    return {
        "main.c": _own("standalone.c"),
        "print.h": _own("standalone.print.h"),
        "kernel.h": _own(f"standalone.{way}.h"),
        "probe.h": "\n".join(_probe(plan, source)) + "\n",
    }


def types(headers: Path, texts: Iterable[str]) -> str:
    """Return a vmlinux.h with those of a kernel's types that ``texts`` need."""
    kept = pruned((headers / "vmlinux.h").read_text(encoding="utf-8"), "\n".join(texts))
    return f"#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n{kept}#endif\n"


def included(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of kpmagic's headers that ``text`` includes, and that those include."""
    for name in INCLUDE.findall(text):
        path = bpf_directory() / name
        if path.exists():  # the kernel's types are no header of kpmagic's
            header = path.read_text(encoding="utf-8")
            yield name, header
            yield from included(header)


def _own(name: str) -> str:
    return (bpf_directory() / name).read_text(encoding="utf-8")


def _probe(plan: Plan, source: Source) -> Iterator[str]:
    """Yield what standalone.c is told of this probe."""
    options = plan.probe.options
    yield "/* SPDX-License-Identifier: GPL-2.0-only OR MIT */"
    yield f"#define BUFFER {ring_size(options.buffer)}\n#define MAX_ROWS {options.max_events}UL"
    yield f"#define PID {options.pid}\n#define CPU {options.cpu}\n#define SAMPLE {options.sample}"
    filtered = options.pid or options.cpu >= 0 or options.comm or options.follow
    asked = FILTERED * bool(filtered) | SAMPLED * (options.sample > 1)
    yield f"#define ASKED {asked} /* KP_FILTERED, KP_SAMPLED */"
    yield f"#define COMM {{ {', '.join(map(str, [*options.comm.encode(), 0]))} }}"
    yield f"#define FOLLOW {int(options.follow)}\n#define ENTRIES {int(bool(source.entries))}"
    seconds = -(-options.duration // 10**9) if options.duration is not None else 0
    yield f"#define SECONDS {seconds}\n"
    for layout in source.layouts:
        yield _fields(f"fields_{layout.row}", layout.fields)
    shapes = [f"{{ {len(each.fields)}, fields_{each.row} }}" for each in source.layouts]
    yield _array("struct shape", "shapes", shapes) + f"#define N_SHAPES {len(shapes)}u\n"
    yield _array("struct place", "places", [_place(each) for each in source.programs])
    yield f"#define N_PROGRAMS {len(source.programs)}u\n"
    yield _array("char *const", "sites", [json.dumps(site_name(each)) for each in plan.sites])
    yield f"#define N_PLACES {len(plan.sites)}u\n"
    for table in source.aggregates:
        yield _fields(f"keys_{table.map}", table.keys)
    tables = [_table(each) for each in source.aggregates]
    yield _array("struct table", "tables", tables) + f"#define N_TABLES {len(tables)}u"


def _array(kind: str, name: str, items: Iterable[str]) -> str:
    lines = [f"\t{each}," for each in items] or ["\t{ 0 },"]
    return f"static const {kind} {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


def _fields(name: str, fields: tuple[Field, ...]) -> str:
    return _array("struct field", name, map(_field, fields))


def described(field: Field) -> tuple[str, str, int, int, int]:
    """Return name, kind, offset, size and number of elements, as programs that print know it."""
    kind = KINDS.get(field.type.kind, "i" if field.type.signed else "u")
    count = 0 if kind == "s" else field.type.count
    return field.name, kind, field.offset, field.type.size, count


def _field(field: Field) -> str:
    name, kind, *numbers = described(field)
    return f"{{ {json.dumps(name)}, '{kind}', {', '.join(map(str, numbers))} }}"


def _place(each: Program) -> str:
    flags = (each.exact, each.is_return, each.multi, each.optional)
    symbol = json.dumps(each.symbol) if each.symbol else "NULL"
    offset = each.offset if each.symbol else each.address + each.offset
    return (f'{{ "{each.program}", {symbol}, {each.address}u, {offset}u, {each.cookie}u, '
            + ", ".join(str(flag).lower() for flag in flags) + " }")  # fmt: skip


def _table(each: Aggregate) -> str:
    is_signed = each.value is not None and each.value.signed
    label = json.dumps(each.label, ensure_ascii=False)
    return (f'{{ "{each.map}", {label}, \'{FUNCTIONS[each.function]}\', {each.key_size}, '
            f"{str(is_signed).lower()}, {each.low}LL, {each.high}LL, {each.step}LL, "
            f"{len(each.keys)}, keys_{each.map} }}")  # fmt: skip
