# SPDX-License-Identifier: MIT
"""The scanner of bodies: what it finds, what it refuses, and where."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmagic.cell.body import last_names, scan, scan_expression
from kpmagic.cell.text import Edit, apply, narrow, widen
from kpmagic.errors import CellError


def words(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    body = scan(text, 2, "In[1]")
    return [
        (call.word, [(a.name, text[a.start : a.end]) for a in call.arguments])
        for call in body.calls
    ]


def test_calls_and_their_arguments() -> None:
    assert words('if (a) emit(flags = args->flags, f(b, c)[1], "x,y");\ncount();') == [
        ("emit", [("flags", "args->flags"), ("", "f(b, c)[1]"), ("", '"x,y"')]),
        ("count", []),
    ]


def test_a_string_inside_an_emit_is_found_too() -> None:
    assert [word for word, _ in words("emit(n = str(p->name), 1);")] == ["emit", "str"]


def test_what_is_no_call_inside_another_one() -> None:
    assert [word for word, _ in words("emit(a->max(1), str(str(b))); count();")] == [
        "emit", "str", "str", "count"]  # fmt: skip


def test_a_comment_goes_on_behind_a_backslash_and_blanks() -> None:
    assert words("x; // a \\ \n emit(1);\n count();") == [("count", [])]


def test_members_comments_and_texts_are_no_calls() -> None:
    assert words("x.count(); p->emit(1); /* emit(2) */ // sum(3)\nf(\"min(4)\"); c = '(';") == []


def test_equality_is_not_a_keyword() -> None:
    assert words("emit(a == b, c = d == e);") == [("emit", [("", "a == b"), ("c", "d == e")])]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("emit(a", 2, 5, "this '(' is never closed"),
        ("x;\n  }", 3, 3, "this '}' closes nothing"),
        ("emit(a]);", 2, 7, "this ']' closes nothing"),
        ('s = "abc', 2, 5, 'this " is never closed'),
        ("x; /* abc", 2, 4, "this comment is never closed"),
        ("emit(a, );", 2, 7, "an argument is missing after this ','"),
        ("emit(, a);", 2, 6, "an argument is missing before this ','"),
        ("emit(a = );", 2, 8, "nothing follows 'a ='"),
        ("x;\n #include </etc/shadow>", 3, 2, "a handler has no preprocessor lines"),
        ("/* c */ #define x", 2, 9, "a handler has no preprocessor lines"),
        ("%: include", 2, 1, "a handler has no preprocessor lines"),
        ("\\\n#define x", 3, 1, "a handler has no preprocessor lines"),
        ('asm(".incbin \\"/etc/shadow\\"");', 2, 1, "a handler may not hold inline assembly"),
        ('_Pragma("x")', 2, 1, "a handler may not hold a preprocessor word"),
        ("a\0b", 2, 2, "a NUL character in the cell"),
        ("emit(str(x = y));", 2, 10, "str() takes no keywords"),
        ("emit(a = (count(), 3));", 2, 11, "count() cannot stand inside emit()"),
        ("emit(x = max(a, str(b)));", 2, 10, "max() cannot stand inside emit()"),
        ("int kp_value = 3;", 2, 5, "'kp_value': names that begin so"),
        ("__kp(3);", 2, 1, "'__kp': names that begin so"),
        ("%\\\n:include </etc/shadow>", 2, 2, "a line that goes on within a word"),
        ("as\\ \nm(\"nop\");", 2, 3, "a line that goes on within a word"),
        ("x = \\u0061;", 2, 5, "this \\ is no C"),
    ],
)
def test_what_is_refused_and_where(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(CellError) as caught:
        scan(text, 2, "In[1]")
    place = caught.value.place
    assert place is not None
    assert (place.line, place.column) == (line, column)
    assert caught.value.message.startswith(message)


def test_columns_count_characters_not_bytes() -> None:
    with pytest.raises(CellError) as caught:
        scan(narrow('x = "äöü"; }'), 2, "cell")
    assert caught.value.place is not None
    assert caught.value.place.column == 12
    assert caught.value.place.text == 'x = "äöü"; }'


@pytest.mark.parametrize("text", ["a; b", "({ a; })", "x } y", "emit(a)"])
def test_where_takes_one_expression(text: str) -> None:
    with pytest.raises(CellError):
        scan_expression(text, "cell", 20)


def test_a_semicolon_in_a_text_is_an_expression_still() -> None:
    assert scan_expression("c == ';'", "cell", 1).names == {"c"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("path->dentry->d_name.name", ["name", "d_name", "dentry", "path"]),
        ("str(a.b)", ["b", "a"]),
        ("x + y", ["y"]),
        ("p->list[3]", ["list", "p"]),
        ("1 + 2", []),
    ],
)
def test_last_names(text: str, names: list[str]) -> None:
    assert last_names(text) == names


def test_of_two_edits_at_one_place_the_first_stays_outermost() -> None:
    edits = [Edit(0, 0, "A("), Edit(0, 0, "B("), Edit(1, 1, ")b"), Edit(3, 3, ")a")]
    assert apply("xyz", edits) == "A(B(x)byz)a"


@given(st.text())
def test_narrow_keeps_one_character_for_each_byte(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    assert len(narrow(text)) == len(clean.encode())
    assert widen(narrow(clean)) == clean


@given(st.text(alphabet="emit(){}[]\"'\\/*#=,;. \n<>%:xé\0", max_size=60))
def test_any_text_is_scanned_or_refused(text: str) -> None:
    with contextlib.suppress(CellError):
        body = scan(narrow(text), 2, "cell")
        assert all(call.end <= len(body.text) for call in body.calls)
