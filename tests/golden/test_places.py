# SPDX-License-Identifier: MIT
"""What compilers and the verifier say of generated C stands at line and column of the cell."""

from __future__ import annotations

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.analysis.analyse import analyse
from kpmagic.backends import origin
from kpmagic.backends.kmod import Kmod
from kpmagic.compiler.toolchain import bpf_directory
from kpmagic.errors import BuildError, Place
from kpmagic.model import Artifact, Source
from kpmagic.verifier import _position, explain

LOOP = "for (int i = 0; i < 3; i++) count();"
LOAD = "int a = file->color; int b = a;"
# the second line of a body, what is looked for in what it was made into, the column in the cell
CELLS = [
    ("int a = 1; /* é */ int b = a;", "int a", 1),
    ("int a = 1; /* é */ int b = a;", "a;", 28),
    (LOOP, "int i", 6),
    (LOOP, "i < 3", 17),
    (LOOP, "kp_total(", 29),
    ("emit(count); int b = 1;", "b = 1", 18),
    ("emit(count /* ) */); int b = 1;", "b = 1", 26),
    ("\tif (count > 3) return;", "count > 3", 6),
    (LOAD, "KP_LOAD", 9),
    (LOAD, "file->color", 9),
    (LOAD, "b = a", 0),
    ('char *s = "KP_LOCAL "; int b = 1;', "b = 1", 0),
]


def column_of(source: Source, line: int, mark: str) -> int:
    """Where ``mark`` is in what was made of a line of the cell, counted in bytes from 1."""
    return origin._made(source)[line][0].index(mark) + 1


@pytest.mark.parametrize(("text", "mark", "column"), CELLS)
def test_a_column_is_that_of_the_cell_or_none(
    tiny: TinyKernel, text: str, mark: str, column: int
) -> None:
    plan = tiny.plan("kprobe", "vfs_read", f"count();\n{text}")
    for source in (build.render(plan, tiny.compiler),
                   Kmod(bpf_directory()).render(analyse(plan, tiny.compiler))):  # fmt: skip
        place = origin.place(plan.probe, source, 3, column_of(source, 3, mark))
        assert place == Place(3, column, text.replace("\t", " "), "In[4]")


def test_what_a_define_has_moved_has_no_column(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read -D N=N1", "int N1 = 1;\nint b = N, c = N1, d = b;")
    source = build.render(plan, tiny.compiler)
    assert origin.place(plan.probe, source, 3, column_of(source, 3, "N1")).column == 9
    assert origin.place(plan.probe, source, 3, column_of(source, 3, "c =")).column == 0
    assert origin.place(plan.probe, source, 3, column_of(source, 3, "d =")).column == 0


def test_the_condition_of_where_has_its_column(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read --where 'count > 3'", "count();")
    source = build.render(plan, tiny.compiler)
    place = origin.place(plan.probe, source, 1, column_of(source, 1, "> 3"))
    assert place.text[place.column - 1 :] == "> 3'"
    plan = tiny.plan("kprobe", r"vfs_read --where count\>3", "count();")  # not as it is written
    source = build.render(plan, tiny.compiler)
    assert origin.place(plan.probe, source, 1, column_of(source, 1, "3)")).column == 0


def test_handlers_that_differ_in_a_line_leave_its_column_open(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read vfs_write", "int a = 1; b;")
    both = '#line 2 "cell"\nint a = 1; b;\n#line 1 "x.c"\n#line 2 "cell"\nKP_LOAD(int a) = b;'
    source = Source({"x.c": both}, "x.c", (), 0, (), ())
    assert origin.place(plan.probe, source, 2, 1).column == 1
    assert origin.place(plan.probe, source, 2, 12).column == 0


def test_the_verifier_s_place_is_right_in_a_line_longer_than_1023(tiny: TinyKernel) -> None:
    columns = ", ".join(f"a{number} = file->f_path.dentry->d_name.len" for number in range(30))
    plan = tiny.plan("kprobe", "vfs_read", f"\n  emit({columns});")
    artifact = build.build(plan, tiny.facts)
    places = set()
    for instruction in range(400):
        line, column, called = _position(artifact.object, "kp_0", instruction)
        if line and not called:
            place = origin.place_of_btf(plan.probe, artifact.source, line, column)
            places.add(place and (place.line, place.column))
    assert places == {(3, 3)}


def test_the_verifier_s_error_has_a_column_and_the_name_of_the_run(tiny: TinyKernel) -> None:
    read = "  __builtin_memcpy(&v, (void *)(long)value, 4);"
    plan = tiny.plan("kprobe", "nothing", f"int v;\n{read}\nemit(v);")
    artifact = build.build(plan, tiny.facts)
    at = max(number for number in range(200)
             if _position(artifact.object, "kp_0", number) == (3, 3, False))  # fmt: skip
    error = explain(f"{at}: (61) r1 = *(u32 *)(r1 +0)\nR1 invalid mem access 'scalar'\n",
                    "kp_0", artifact, plan.probe, "kernel_clone")  # fmt: skip
    assert error.place is not None
    assert (error.place.line, error.place.column) == (3, 3)
    assert "%kp show kernel_clone --stage log" in error.hint


def test_what_clang_s_code_generator_refuses_has_its_column(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "nothing", "  char big[600] = {};\n  emit(x = big[value & 511]);")
    source = build.render(plan, tiny.compiler)
    at = column_of(source, 2, "big")
    error = BuildError(f"cell:2:{at}: error: stack size exceeded")
    found = build._at_the_cell(error, source, plan.probe)
    assert (found.message, found.place and found.place.column) == ("stack size exceeded", 8)


def test_a_refused_probe_without_a_body_is_at_its_line(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read", None)
    source = build.render(plan, tiny.compiler)
    assert origin.place(plan.probe, source, 2, 9) == Place(1, 0, "%kprobe vfs_read", "In[4]")


def test_an_artifact_of_no_object_is_of_no_place(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_read", "count();")
    source = build.render(plan, tiny.compiler)
    assert explain("", "kp_0", Artifact(source, b"", "", 0.0, ""), plan.probe, "x").place is None
