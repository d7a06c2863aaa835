# SPDX-License-Identifier: MIT
"""-D NAME=VALUE: the value stands in the body as if it had been written there."""

from __future__ import annotations

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.errors import BuildError, CellError


def rendered(tiny: TinyKernel, line: str, body: str) -> str:
    text = build.render(tiny.plan("kprobe", f"vfs_read {line}", body), tiny.compiler).text
    assert tiny.compiler.compile(text).startswith(b"\x7fELF")
    return text


@pytest.mark.parametrize(("line", "body", "code"), [
    ("-D 'LEN=file->f_path.dentry->d_name.len'", "emit(LEN);",
     "KP_LOAD(unsigned int, &(KP_LOAD(struct dentry *, &(file->f_path.dentry))->d_name.len))"),
    ("-D 'AT=*pos'", "emit(AT);", "KP_LOAD(long long, &(*pos))"),
    ("-D 'AT=*pos' -D LIMIT=AT", "emit(); if (count < LIMIT) return;",
     "count < KP_LOAD(long long, &(*pos))"),
    ("-D 'AT=*pos' --where 'AT > 3'", "emit();", "if (!(KP_LOAD(long long, &(*pos)) > 3))"),
    ("-D N=-5", "emit(x = 1 -N);", "1 - -5"),
    ("-D count=count+1 -D 'N=2 /* two */ // it is'", "emit(x = count * N);", "(count+1 * 2)"),
    ("-D N=4 -D LOW=0", "lhist(count, LOW, 100, N);", "0LL, 100LL, 4)"),
    ("-D N=4", "emit(N = 3, text = str(buf, N));", "__s32 c_N;\n\tchar c_text[4];"),
    ("-D pid=1", "emit(pid);", "c_arg_pid"),
])  # fmt: skip
def test_a_value_means_what_it_means_in_the_body(
    line: str, body: str, code: str, tiny: TinyKernel
) -> None:
    assert code in rendered(tiny, line, body)


@pytest.mark.parametrize("name", ["n", "v", "rows", "key", "cpu", "bucket", "hit", "number"])
def test_a_name_of_kpmagics_own_c_is_free(name: str, tiny: TinyKernel) -> None:
    body = f"emit(x = {name}); max(count, by = pid);"
    rendered(tiny, f"-D {name}=3 --where 'count > {name}'", body)


@pytest.mark.parametrize(("value", "body", "message"), [
    ("1, 2", "emit(BAD);", "with the values of -D emit() gets 2 arguments, not 1"),
    ("asm", 'BAD("nop");', "-D BAD: a handler may not hold inline assembly"),
    ("(", "emit(BAD 1));", "-D BAD: this '(' is never closed"),
    ("#include", "emit();", "-D BAD: a handler has no preprocessor lines"),
    ("1 # 2", "emit();", "-D BAD: a handler has no '#'"),
    ("str(buf)", "emit(BAD);", "-D BAD: str() cannot be in a define"),
    ("1 /* one", "emit(BAD);", "-D BAD: this comment is never closed"),
])  # fmt: skip
def test_what_no_value_is(value: str, body: str, message: str, tiny: TinyKernel) -> None:
    with pytest.raises(CellError) as caught:
        rendered(tiny, f"-D 'BAD={value}'", body)
    assert message in caught.value.message


def test_what_is_wrong_in_a_value_is_where_its_name_is(tiny: TinyKernel) -> None:
    with pytest.raises(BuildError, match="undeclared") as caught:
        rendered(tiny, "-D 'BAD=1 + nope'", "emit(count, x = BAD, pos);")
    assert caught.value.place is not None
    assert (caught.value.place.line, caught.value.place.column) == (2, 17)


@pytest.mark.parametrize(("where", "text"), [
    ("count > 5 // größer, ≥", "count > 5 // größer, ≥"),
    ('count > 5 && "≥"[0]', '"≥"[0]'),
])  # fmt: skip
def test_a_filter_may_hold_any_letter_and_a_comment(
    where: str, text: str, tiny: TinyKernel
) -> None:
    assert text in rendered(tiny, f"--where '{where}'", "emit();")


def test_a_filter_in_quotes_of_a_text_processor_is_refused_where_it_is(tiny: TinyKernel) -> None:
    with pytest.raises(BuildError) as caught:
        rendered(tiny, "--where '“ü” + nope > 5'", "emit();")
    assert caught.value.place is not None
    assert caught.value.place.text[caught.value.place.column - 1 :].startswith("“ü")
