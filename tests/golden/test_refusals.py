# SPDX-License-Identifier: MIT
"""What clang, and the walk over its tree, refuse: the sentence and the place in the cell."""

from __future__ import annotations

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.errors import BuildError, CellError, KpmagicError

ERROR = type[KpmagicError]


@pytest.mark.parametrize(
    ("line", "body", "error", "at", "message", "hint"),
    [
        (
            "vfs_read",
            "emit(file->f_pth);",
            BuildError,
            (2, 12),
            "no member named 'f_pth'",
            "%kp struct",
        ),
        (
            "vfs_read",
            "int x = 3;\n  emit(é, x);",
            BuildError,
            (3, 8),
            "undeclared",
            "file, buf, count",
        ),
        (
            "vfs_read",
            "emit(a = 1,\n  b = nope);",
            BuildError,
            (3, 7),
            "undeclared",
            "in scope here",
        ),
        ("vfs_read", "int x = ;", BuildError, (2, 9), "expected expression", ""),
        (
            "vfs_read",
            'printk("x");',
            BuildError,
            (2, 1),
            "undeclared function",
            "cannot call kernel",
        ),
        ("vfs_read+5", "emit(count);", BuildError, (2, 6), "undeclared", "at its entry only"),
        (
            "vfs_read",
            "file->f_pos = 3;",
            CellError,
            (2, 1),
            "may not write",
            "variable of your own",
        ),
        ("vfs_read", "file->f_pos++;", CellError, (2, 1), "may not write", ""),
        ("vfs_read", "*pos += 1;", CellError, (2, 1), "may not write", ""),
        (
            "vfs_read",
            "count(by = *file);",
            CellError,
            (2, 12),
            "'struct file' is a whole struct",
            "member",
        ),
        ("sock_ready", "emit(sk->shut(sk));", CellError, (2, 6), "through a pointer", "words"),
        (
            "sock_ready",
            "int (*f)(int) = (void *)sk;\n f(3);",
            CellError,
            (3, 2),
            "through a pointer",
            "",
        ),
        ("vfs_read", "regs->dx = 1;", CellError, (2, 1), "write to the registers", "set_retval"),
        ("vfs_read", "int a[2]; a[0] /= count;", CellError, (2, 11), "plain variable", "x = x / y"),
        ("vfs_read", "int a[2]; a[0] %= count;", CellError, (2, 11), "x %= y needs", "x = x % y"),
        ("vfs_read", 'if (comm == "cat") emit();', BuildError, (2, 10), "string literal", "--comm"),
        ("vfs_read", "emit(a = 1, a = 2);", CellError, (2, 13), "named twice", "my_a"),
        ("vfs_read", "emit(pid = count);", CellError, (2, 6), "always there", "my_pid"),
        ("vfs_read", "if (str(buf)) return;", CellError, (2, 5), "only be a column or a key", ""),
        ("vfs_read", "emit(str(buf, 5000));", CellError, (2, 6), "1 to 1024", ""),
        (
            "vfs_read",
            f"emit({', '.join(f'a{i} = str(buf, 1024)' for i in range(70))});",
            CellError,
            (2, 1),
            "a row of 71,720 bytes",
            "str(p, 64)",
        ),
        ("vfs_read", "count(3);", CellError, (2, 1), "count() takes no value", "by = comm"),
        ("vfs_read", "sum();", CellError, (2, 1), "sum takes one value", ""),
        ("vfs_read", "count(count = count);", CellError, (2, 1), "a column 'count'", "my_count"),
        ("vfs_read", "hist(count, low = pid);", CellError, (2, 1), "a column 'low'", "my_low"),
        ("vfs_read", "sum(count, value = pid);", CellError, (2, 1), "column 'value'", "my_value"),
        (
            "vfs_read",
            f"lhist(count, 0, {1 << 63}, {1 << 60});",
            CellError,
            (2, 1),
            "lhist counts in 64 bits",
            "hist",
        ),
        ("vfs_read", "hist(buf);", CellError, (2, 1), "hist needs a number", "cast"),
        ("vfs_read", "lhist(count, 9, 3, 1);", CellError, (2, 1), "low < high", ""),
        ("vfs_read", "__u64 x = min(count, 3);", BuildError, (2, 7), "'void'", "a < b ? a : b"),
        ("vfs_read", "lhist(count, a, b, c);", BuildError, (2, 14), "undeclared", ""),
        (
            "vfs_read",
            'sum(count, label="x"); avg(count, label="x");',
            CellError,
            (2, 24),
            "two",
            "label",
        ),
        (
            "vfs_read --where 'nope > 3'",
            "emit();",
            BuildError,
            (1, 19 + 9),
            "undeclared",
            "in scope",
        ),
    ],
)
def test_a_refusal_says_what_where_and_what_now(
    line: str,
    body: str,
    error: ERROR,
    at: tuple[int, int],
    message: str,
    hint: str,
    tiny: TinyKernel,
) -> None:
    with pytest.raises(error) as caught:
        build.render(tiny.plan("kprobe", line, body), tiny.compiler)
    place = caught.value.place
    assert place is not None
    assert (place.line, place.column, place.cell) == (*at, "In[4]")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("line", "body", "below"), [
    ("vfs_read --where 'nope > 3'", "emit();", "nope > 3"),
    ("vfs_read", "int x = 3;\n\t\temit(nope);", "nope"),
])  # fmt: skip
def test_the_caret_stands_below_what_is_wrong(
    line: str, body: str, below: str, tiny: TinyKernel
) -> None:
    with pytest.raises(BuildError) as caught:
        build.render(tiny.plan("kprobe", line, body), tiny.compiler)
    *_, text, caret = str(caught.value).partition("\n  hint:")[0].split("\n")
    assert text[caret.index("^") :].startswith(below)


def test_retval_of_a_void_function_is_not_in_scope(tiny: TinyKernel) -> None:
    with pytest.raises(BuildError, match="undeclared identifier 'retval'"):
        build.render(tiny.plan("kretprobe", "nothing", "emit(retval);"), tiny.compiler)


def test_a_crash_of_the_code_generator_is_one_sentence_at_a_line(tiny: TinyKernel) -> None:
    body = "emit(value);\nemit(x = __atomic_load_n((int *)(long)value, 0));"
    plan = tiny.plan("kprobe", "nothing", body)
    with pytest.raises(BuildError) as caught:
        build.compile_source(build.render(plan, tiny.compiler), tiny.compiler, plan.probe)
    assert "\n" not in caught.value.message
    assert caught.value.place is not None
    assert caught.value.place.line == 3
