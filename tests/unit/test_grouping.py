# SPDX-License-Identifier: MIT
"""Which sites share a handler."""

from __future__ import annotations

from dataclasses import replace

from kpmagic.cell.grouping import groups, placed
from kpmagic.cell.handler import Handler
from kpmagic.cell.syntax import parse_probe
from kpmagic.model import Function, Parameter, Plan, Probe, Site, Spec

FILE = Parameter("file", "struct file *file", 1, 8, "pointer")
COUNT = Parameter("count", "size_t count", 2, 8)
SHORT = Parameter("count", "int count", 3, 4)
SPEC = Spec("f*", "f*")
FUNCTIONS = (
    Function("f0", (FILE, COUNT), "long"),
    Function("f1", (FILE, COUNT), "int"),
    Function("f2", (COUNT, FILE), "long"),
    Function("f3", (FILE, SHORT), "long"),
    Function("f4", (FILE,), "void"),
    None,
)
EVERYTHING = frozenset({"attach-cookie", "kprobe-multi"})


def plan(body: str | None, kind: str = "kprobe", options: str = "") -> Plan:
    probe: Probe = parse_probe(kind, f"f* {options}", body)  # type: ignore[arg-type]
    sites = tuple(
        Site(SPEC, f"f{number}", 0, 4096 + number, function, exact=True)
        for number, function in enumerate(FUNCTIONS)
    )
    return Plan(probe, sites, "6.12", "id", 2, features=EVERYTHING)


def handler(numbers: tuple[int, ...], uses: str = "") -> Handler:
    return Handler(plan("").sites[numbers[0]], numbers, (), "", frozenset(uses.split()))


def test_a_body_without_arguments_is_one_handler() -> None:
    assert groups(plan("emit(cpu);")) == [(0, 1, 2, 3, 4, 5)]
    assert groups(plan("count(by = comm, f = func);")) == [(0, 1, 2, 3, 4, 5)]


def test_only_arguments_that_are_used_tell_apart() -> None:
    assert groups(plan("emit(file);")) == [(0, 1, 3, 4), (2,), (5,)]
    assert groups(plan("emit(count);")) == [(0, 1), (2,), (3,), (4, 5)]


def test_where_uses_arguments_too() -> None:
    assert groups(plan("emit();", options="--where 'file != 0'")) == [(0, 1, 3, 4), (2,), (5,)]


def test_what_is_returned_tells_apart_where_it_is_used() -> None:
    assert groups(plan("emit(latency);", "kretprobe")) == [(0, 1, 2, 3, 4, 5)]
    assert groups(plan("emit(retval);", "kretprobe")) == [(0, 2, 3), (1,), (4,), (5,)]


def test_what_is_injected_must_fit_each_function() -> None:
    found = groups(plan("skip_function(0);", options="--inject --backend kmod"))
    assert found == [(0, 2, 3), (1,), (4,), (5,)]


def test_the_line_form_has_each_functions_columns() -> None:
    assert groups(plan(None)) == [(0, 1), (2,), (3,), (4,), (5,)]


def test_many_are_attached_at_once_where_the_kernel_can() -> None:
    assert [h.multi for h in placed(plan("emit();"), handler((0, 1)))] == [True]
    assert [h.multi for h in placed(plan("emit();"), handler((0,)))] == [False]


def test_registers_are_whole_only_at_a_kprobe() -> None:
    assert [h.multi for h in placed(plan("emit(regs->bx);"), handler((0, 1), "regs"))] == [False]


def test_returns_are_attached_one_by_one() -> None:
    assert [h.multi for h in placed(plan("emit();", "kretprobe"), handler((0, 1)))] == [False]


def test_without_cookies_each_site_has_its_program() -> None:
    old = replace(plan("emit();"), features=frozenset())
    made = list(placed(old, handler((1, 3))))
    assert [(h.numbers, h.number, h.site.symbol) for h in made] == [
        ((1,), 1, "f1"),
        ((3,), 3, "f3"),
    ]
