# SPDX-License-Identifier: MIT
"""emit(), count() … hist() as C: each one statement expression."""

from __future__ import annotations

from collections.abc import Iterator

from kpmagic import layout
from kpmagic.cell.handler import Add, Column, Emit, Inject, Piece
from kpmagic.record import Aggregate

_READERS = {
    "kernel_string": "bpf_probe_read_kernel_str",
    "user_string": "bpf_probe_read_user_str",
    "kernel_array": "bpf_probe_read_kernel",
}


def render(piece: Piece) -> str:
    """Return a piece of a body as C, on as many lines as it took in the cell."""
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Inject):
        parts = _inject(piece)
    else:
        parts = _emit(piece) if isinstance(piece, Emit) else _add(piece)
    return "({ " + " ".join(parts) + " })" + "\n" * piece.lines


def _emit(emit: Emit) -> Iterator[str]:
    reserve = f"kp_reserve(kp_hit, kp_ts, {emit.row})"
    yield f"struct kp_row_{emit.row} *kp_r = {reserve};"
    yield "if (kp_r) {"
    for column in emit.columns:
        yield store(column, f"kp_r->{layout.c_name(column.name)}")
    yield "kp_submit(kp_hit, kp_r); }"


def _inject(inject: Inject) -> Iterator[str]:
    yield f"kp_hit->value = (__u64)({inject.value.replace(chr(10), ' ')});"
    yield f"struct kp_row_{inject.row} *kp_r = kp_may_inject(kp_hit) ?"
    yield f"kp_reserve(kp_hit, kp_ts, {inject.row}) : 0;"
    yield "if (kp_r) {"
    for column in inject.columns:
        yield store(column, f"kp_r->{layout.c_name(column.name)}")
    yield "kp_hit->injected = kp_submit(kp_hit, kp_r); }"


def store(column: Column, place: str) -> str:
    """Return the statement that puts a column's value at ``place``."""
    code, size = column.code.replace("\n", " "), column.type.size
    if column.form == "local_array":
        return f"__builtin_memcpy({place}, {code}, {size});"
    # the kernel clears what lies behind the last address
    if column.form == "kernel_stack":
        return f"bpf_get_stack(kp_regs, {place}, {size}, 0);"
    if column.form == "user_stack":
        into = f"{place} + 1, {size - 8}, KP_USER_STACK"
        return f"{place}[0] = kp_hit->id >> 32; bpf_get_stack(kp_regs, {into});"
    if column.form in _READERS:
        clear = "" if column.form == "kernel_array" else f"__builtin_memset({place}, 0, {size}); "
        return f"{clear}{_READERS[column.form]}({place}, {size}, (const void *)({code}));"
    return f"{place} = ({layout.integer(column.type)})({code});"


def _add(add: Add) -> Iterator[str]:
    table = add.aggregate
    yield f"struct {table.map}_key *kp_k = kp_key(kp_hit, {table.map}_keys);"
    yield from filled(add)
    yield f"struct kp_total *kp_t = kp_total(kp_hit, &{table.map}, kp_k);"
    yield f"if (kp_t) {update(table)};"


def filled(add: Add) -> Iterator[str]:
    """Yield the statements that work out ``kp_v``, the value, and fill the key ``kp_k``."""
    table = add.aggregate
    number = f"({layout.integer(add.value.type)})({_line(add.value)})" if add.value else "0"
    if table.value is not None and table.value.kind == "bool":
        number = f"!!({number})"
    if add.value:
        yield f"__u64 kp_v = {number};"
    for field, key in zip(table.keys, add.keys, strict=True):
        yield store(key, f"kp_k->{layout.c_name(field.name)}")
    yield f"kp_k->bucket = {_bucket(table)};"


def _line(column: Column) -> str:
    return column.code.replace("\n", " ")


def _signed(table: Aggregate) -> bool:
    return table.value is not None and table.value.signed


def _bucket(table: Aggregate) -> str:
    signed = "true" if _signed(table) else "false"
    if table.function == "hist":
        return f"kp_log2_bucket(kp_v, {signed})"
    if table.function == "lhist":
        return f"kp_step_bucket(kp_v, {signed}, {table.low}LL, {table.high}LL, {table.step})"
    return "0"


def update(table: Aggregate) -> str:
    """Return the statement that adds ``kp_v`` to the total ``kp_t``."""
    if table.function in ("min", "max"):
        kind = "__s64" if _signed(table) else "__u64"
        return f"KP_BETTER({kind}, kp_t, {'<' if table.function == 'min' else '>'}, kp_v)"
    return f"kp_add(kp_t, {'kp_v' if table.function in ('sum', 'avg') else '0'})"
