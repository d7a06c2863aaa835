# SPDX-License-Identifier: MIT
"""The magic line: every option read, every mistake refused with its column."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmagic.cell.defines import literal
from kpmagic.cell.options import CONTRADICTIONS, NEEDS, OPTIONS, help_text, is_of
from kpmagic.cell.syntax import (
    Line,
    options_from_keywords,
    parse_probe,
    parse_spec,
    probe_from_keywords,
)
from kpmagic.cell.values import duration, ring_size, size
from kpmagic.errors import CellError
from kpmagic.model import MAX_TIME, Options, Spec

# one good value for every option that takes one, and what it becomes
GOOD = {
    "out": ("run", "run"),
    "name": ("mine", "mine"),
    "duration": ("500ms", 500_000_000),
    "command": ("'ls; echo $HOME {x}'", "ls; echo $HOME {x}"),
    "max_events": ("7", 7),
    "max_overhead": ("5%", 0.05),
    "max_time": ("1h", 3_600_000_000_000),
    "where": ("'count > 10'", "count > 10"),
    "pid": ("42", 42),
    "comm": ("bash", "bash"),
    "cpu": ("0", 0),
    "sample": ("1/7", 7),
    "maxactive": ("60", 60),
    "mechanism": ("jump", "jump"),
    "times": ("3", 3),
    "probability": ("10%", 0.1),
    "defines": ("N=5", (("N", "5"),)),
    "backend": ("bpf", "bpf"),
    "target": ("sandbox", "sandbox"),
    "buffer": ("64K", 65536),
    "fields": ("'file.f_path.*, count'", ("file.f_path.*", "count")),
    "depth": ("2", 2),
    "show": ("none", "none"),
    "save": ("rows.parquet", "rows.parquet"),
}


def complaint(line: str, kind: str = "kprobe", **names: object) -> CellError:
    with pytest.raises(CellError) as caught:
        parse_probe(kind, line, "emit(pid);", names=names)  # type: ignore[arg-type]
    return caught.value


OF_PROBES = [option for option in OPTIONS if is_of(option, "kprobe")]


def under_caret(error: CellError) -> str:
    assert error.place is not None
    return error.place.text[error.place.column - 1 :]


def test_every_option_is_in_the_model() -> None:
    fields = {field.name for field in dataclasses.fields(Options)}
    assert {option.field for option in OPTIONS} == fields


@pytest.mark.parametrize("option", OF_PROBES, ids=lambda option: option.field)
def test_each_option_in_each_spelling(option) -> None:
    line = "vfs_read"
    body = None if option.field == "fields" else "x"
    needs = [other for one, other, _ in NEEDS if one == option.field]
    line += "".join(" --inject" if other == "inject" else f" --while {GOOD[other][0]}"
                    for other in needs)  # fmt: skip
    for flag in filter(None, (option.flag, option.short)):
        if option.parse is None:
            probe = parse_probe("kprobe", f"{line} {flag}", "x")
            assert getattr(probe.options, option.field) is True
            continue
        written, value = GOOD[option.field]
        glued = f"{flag}={written}" if flag.startswith("--") else f"{flag}{written}"
        for way in (f"{flag} {written}", glued):
            probe = parse_probe("kprobe", f"{line} {way}", body)
            assert getattr(probe.options, option.field) == value, way


@pytest.mark.parametrize("option", OF_PROBES, ids=lambda option: option.field)
def test_no_option_twice(option) -> None:
    flag = option.flag or option.short
    written = "" if option.parse is None else GOOD[option.field][0]
    error = complaint(f"vfs_read {flag} {written} {flag} {written}")
    assert "twice" in error.message


@pytest.mark.parametrize(("one", "other", "why"), CONTRADICTIONS)
def test_contradictions(one: str, other: str, why: str) -> None:
    by_field = {option.field: option for option in OPTIONS}
    parts = []
    for field in (one, other):
        flag = by_field[field].flag or by_field[field].short
        parts.append(flag if by_field[field].parse is None else f"{flag} {GOOD[field][0]}")
    error = complaint("vfs_read " + " ".join(parts))
    assert "contradict" in error.message
    flags = {field: option.flag or option.short for field, option in by_field.items()}
    assert why.format_map(flags) in error.message


@pytest.mark.parametrize(
    ("kind", "line", "keywords", "limit"),
    [
        ("kprobe", "vfs_read", {}, MAX_TIME),
        ("kprobe", "vfs_read --while ls", {"command": "ls"}, MAX_TIME),
        ("kretprobe", "vfs_read --for 1h", {"duration": "1h"}, 0),
        ("kprobe", "vfs_read --for 1h --max-time 10m", {"duration": "1h", "max_time": "10m"},
         MAX_TIME),
        ("kmodule", "hello --while ls", {"command": "ls"}, 0),
        ("kmodule", "hello --bg", {}, 0),
        ("bpftrace", "--for 1h", {"duration": "1h"}, 0),
        ("bpftrace", "--while ls", {"command": "ls"}, MAX_TIME),
    ],
)
def test_only_what_has_no_time_of_its_own_ends_after_the_default_one(
    kind: str, line: str, keywords: dict[str, object], limit: int
) -> None:
    parsed = Line(kind, line, "x", "cell", {})
    parsed.words()
    assert parsed.options().max_time == limit
    assert options_from_keywords(kind, keywords).max_time == limit


def test_follow_needs_while() -> None:
    error = complaint("vfs_read --follow")
    assert "--while" in error.message
    assert under_caret(error) == "--follow"


@pytest.mark.parametrize(
    ("line", "caret", "text"),
    [
        ("vfs_read --fro 5s", "--fro 5s", "did you mean --for?"),
        ("vfs_read --samp 1/7", "--samp 1/7", "did you mean --sample?"),
        ("vfs_read --for soon", "soon", "500ms, 5s, 2m, 1h"),
        ("vfs_read --for 0s", "0s", "longer than nothing"),
        ("vfs_read --for=5", "5", "a number and a unit"),
        ("vfs_read --for", "--for", "needs a value"),
        ("vfs_read --while --follow", "--while --follow", "needs a value"),
        ("vfs_read --follow=yes --while x", "--follow=yes --while x", "--follow alone"),
        ("vfs_read --cpu -1", "-1", "whole number"),
        ("vfs_read --cpu 3000000000", "3000000000", "up to 8191"),
        ("vfs_read --zzzz", "--zzzz", "%%kprobe? lists its options"),
        ("vfs_read --rename", "--rename", "%%kprobe? lists its options"),
        ("vfs_read --for 1s --for 2s", "--for 2s", "leave one of them out"),
        ("vfs_read --for 1s --bg", "--bg", "leave out --for or --bg"),
        ("vfs_read --sample 1/0", "1/0", "1/N"),
        ("vfs_read --sample 2/3", "2/3", "1/N"),
        ("vfs_read --pid 4294967296", "4294967296", "up to 4194304"),
        ("vfs_read --max-events 0", "0", "at least 1"),
        ("vfs_read --comm sixteen-letters-", "sixteen-letters-", "1 to 15 bytes"),
        ("vfs_read --buffer 2G", "2G", "4K to 1G"),
        ("vfs_read --show chart", "chart", "table, plot, none"),
        ("vfs_read -o 1x", "1x", "variable's name"),
        ("vfs_read -o class", "class", "variable's name"),
        ("vfs_read --inject --probability 1e-12", "1e-12", "a billionth at least"),
        ("vfs_read -D N", "N", "NAME=VALUE"),
        ("vfs_read -D 1N=2", "1N=2", "not a C identifier"),
        ("vfs_read -D N=$missing", "N=$missing", "no Python variable 'missing'"),
        ("vfs_read -D N=$f", "N=$f", "this is a float"),
        ("vfs_read -D N=1 -D N=2", "N=2", "defined twice"),
        ("vfs_read -D bpf_x=1", "bpf_x=1", "reserved"),
        ("vfs_read -D 'X=('", "X=('", "this '(' is never closed"),
        ("vfs_read -DX=count()", "X=count()", "count() cannot be in a define"),
        ("a b a", "a", "named twice"),
        ("vfs_read --where count > 3", "> 3", "put quotes around"),
        ("vfs_read;ls", "vfs_read;ls", "does not name a place"),
        ("9lives", "9lives", "does not name a place"),
        ("vfs_read+", "vfs_read+", "does not name a place"),
        ("vfs_read 'x", "x", "no closing quotation"),
        ("", "", "no function is named"),
    ],
)
def test_mistakes_are_shown_where_they_are(line: str, caret: str, text: str) -> None:
    error = complaint(line, f=1.5)
    assert text in str(error)
    assert under_caret(error).startswith(caret)
    assert error.place is not None
    assert error.place.line == 1
    assert error.place.text.startswith("%%kprobe ")


def test_return_probes_have_no_offset() -> None:
    assert "not at an offset" in complaint("vfs_read+4", kind="kretprobe").message


def test_comments_and_quotes() -> None:
    probe = parse_probe("kprobe", "  vfs_read --comm 'a #b'  # --follow 'x", "x")
    assert probe.options.comm == "a #b"
    assert [spec.text for spec in probe.specs] == ["vfs_read"]


def test_where_knows_its_column() -> None:
    line = "vfs_read --where 'count > 1' -n"
    probe = parse_probe("kprobe", line, "x")
    assert f"%%kprobe {line}"[probe.where_at - 1 :].startswith("count > 1'")
    line = 'vfs_read --where="pid"'
    probe = parse_probe("kretprobe", line, None)
    assert f"%kretprobe {line}"[probe.where_at - 1 :].startswith('pid"')


def test_the_body_is_never_touched() -> None:
    body = "emit(x = {$n}, y = '%s' % #1);\n\\ {n} $HOME\n"
    probe = parse_probe("kprobe", "vfs_read -D N=$n", body, cell="In[4]", names={"n": 3})
    assert probe.body == body
    assert probe.body_line == 2
    assert probe.cell == "In[4]"
    assert probe.options.defines == (("N", "3"),)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("vfs_read", Spec("vfs_read", "vfs_read")),
        ("vfs_read+0x1f", Spec("vfs_read+0x1f", "vfs_read", 31)),
        ("vfs_read+9", Spec("vfs_read+9", "vfs_read", 9)),
        ("nf-conn:init+4", Spec("nf-conn:init+4", "init", 4, "nf_conn")),
        ("0xffffffff81000000", Spec("0xffffffff81000000", address=0xFFFFFFFF81000000)),
        ("vfs_*", Spec("vfs_*", "vfs_*")),
        ("vmlinux:vfs_read", Spec("vmlinux:vfs_read", "vfs_read")),
        ("foo.isra.0", Spec("foo.isra.0", "foo.isra.0")),
    ],
)
def test_specs(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@given(st.text(max_size=60))
def test_any_line_is_a_probe_or_a_cell_error(line: str) -> None:
    try:
        assert parse_probe("kprobe", line, None).specs
    except CellError as error:
        place = error.place
    else:
        return
    assert place is not None
    assert 1 <= place.column <= len(place.text) + 1


@given(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8")))
def test_a_string_in_python_is_the_same_string_in_c(text: str) -> None:
    written = literal(text)
    assert written.isascii()
    assert written.isprintable()
    assert "?" not in written
    # C's octal escapes are Python's too
    assert eval("b" + written) == text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-5, "(-5)"),
        (True, "1"),
        (1 << 40, "1099511627776LL"),
        ((1 << 64) - 1, "18446744073709551615ULL"),
        (-(1 << 63), "(-9223372036854775807LL - 1)"),
    ],
)
def test_numbers_in_c(value: int, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, "a\0b", 1.0, None, b"x"])
def test_what_c_cannot_hold(value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        literal(value)


def test_sizes_are_rounded_up_to_what_the_kernel_takes() -> None:
    assert [ring_size(size(text)) for text in ("1", "4K", "5000", "100k", "8M", "64KiB")] == [
        4096, 4096, 8192, 131072, 8 << 20, 65536]  # fmt: skip


def test_durations() -> None:
    assert [duration(text) for text in ("1.5s", "2m", 2, 0.5)] == [
        1_500_000_000, 120_000_000_000, 2_000_000_000, 500_000_000]  # fmt: skip


def test_keywords_are_the_same_options() -> None:
    made = probe_from_keywords(
        "kprobe", "vfs_read", "emit(count);",
        {"command": "ls", "follow": True, "sample": "1/7", "where": None, "dry_run": False,
         "defines": {"N": 5, "S": 'a"b'}, "buffer": "64K"},
    )  # fmt: skip
    read = parse_probe(
        "kprobe", "vfs_read --while ls --follow --sample 1/7 -D N=5 -D S=$s --buffer 64K",
        "emit(count);", names={"s": 'a"b'},
    )  # fmt: skip
    assert made.options == read.options
    assert made.specs == read.specs


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"comand": "ls"}, "did you mean command?"),
        ({"duration": "soon"}, "duration = 'soon'"),
        ({"comand": None}, "did you mean command?"),
        ({"rename": None}, "no option 'rename'"),
        ({"duration": "1s", "command": "ls"}, "duration and command contradict"),
        ({"follow": True}, "follow needs command"),
        ({"times": 3}, "times limits what inject allows"),
        ({"defines": {"a b": 1}}, "not a C identifier"),
        ({"pid": -1}, "whole number"),
        ({"command": "a\0b"}, "NUL"),
        ({"duration": float("inf")}, "at most 146 years"),
        ({"max_time": float("nan")}, "at most 146 years"),
        ({"duration": "9" * 400 + "h"}, "at most 146 years"),
    ],
)
def test_wrong_keywords(keywords: dict[str, object], text: str) -> None:
    with pytest.raises(CellError) as caught:
        probe_from_keywords("kprobe", "vfs_read", None, keywords)
    assert text in str(caught.value)


@pytest.mark.parametrize(("symbols", "body", "text"), [
    (None, None, "None does not name a place"),
    (["vfs_read", 3], None, "3 does not name a place"),
    ("vfs_read", 3, "a body is text of C, not 3"),
    ("0x0", None, "'0x0' does not name a place"),
    ("vfs_read+010", None, "'vfs_read+010' does not name a place"),
    ("vfs_read+" + "1" * 5000, None, "does not name a place"),
])  # fmt: skip
def test_places_and_bodies_that_are_none(symbols: object, body: object, text: str) -> None:
    with pytest.raises(CellError) as caught:
        probe_from_keywords("kprobe", symbols, body, {})  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_help_has_a_line_for_each_option() -> None:
    lines = help_text().splitlines()
    assert len(lines) == len(OF_PROBES)
    assert all(option.help in line for option, line in zip(OF_PROBES, lines, strict=True))
