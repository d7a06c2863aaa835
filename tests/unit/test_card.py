# SPDX-License-Identifier: MIT
"""The card: its line, its sum, and other people's text in it."""

from __future__ import annotations

import html
import re
import struct
from dataclasses import replace

import pandas as pd
import pytest
from far_end import FarEnd, a_run, started, stopped
from hypothesis import given
from hypothesis import strategies as st
from records import layout, record, size_of
from runs import finished

from kpmagic.channel.connection import Connection
from kpmagic.record import HEADER_SIZE, Aggregate, CType, Field
from kpmagic.rows.recording import Recording
from kpmagic.stats import Stats, account
from kpmagic.view.card import CARD, sum_text
from kpmagic.view.clean import clean, escape
from kpmagic.view.table import grouped, of_frame, of_histogram

HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07name",
    "\u202egpj.exe",
    "a\u2066b\u200f",
    "nul\0tab\tline\nreturn\rbell\x07",
    "\x9b31mC1",
    "</td></table><img src=x onerror=y>",
    "&amp;",
]


def seen(markup: str) -> str:
    """What a reader of HTML sees."""
    markup = re.sub(r"<style>.*?</style>", "", markup, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", markup))


def test_the_line() -> None:
    assert str(finished(command="ls")).splitlines()[0] == (
        "■ kernel_clone  stopped (--while)  23 rows  "
        "hits 23 = rows 23 + filtered 0 + sampled 0 + dropped 0; missed 0   bpf on far 6.1.0-test"
    )


def test_what_is_not_known_is_not_zero() -> None:
    assert "missed unknown" in str(finished(more={"missed": None}))


def test_text_and_html_say_the_same() -> None:
    run = finished(rows=50, note="do_fork → kernel_clone: renamed", command="ls",
                   more={"counters": {"hits": 60, "rows": 50, "dropped": 10}})  # fmt: skip
    words = re.findall(r"[^\s]+", CARD.text(run).replace("! ", ""))
    assert re.findall(r"[^\s]+", seen(CARD.html(run))) == words
    assert "do_fork → kernel_clone: renamed" in CARD.text(run)
    assert "20 of 50 rows" in CARD.text(run)
    assert "10 rows did not fit into the ring buffer of 8M" in CARD.text(run)


def test_a_rounded_buffer_is_told() -> None:
    run = finished(rows=1, buffer=100_000)
    assert "--buffer 100000: the kernel takes powers of two, so it has 128K" in CARD.text(run)
    assert "powers of two" not in CARD.text(finished(rows=1, buffer=65536))


def test_thousands() -> None:
    assert grouped(1893) == "1 893"
    assert "20 of 1 893 rows" in str(finished(rows=1893))
    assert "of 20" not in str(finished(rows=20))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names(text: str) -> None:
    frame = pd.DataFrame({"comm": [text], text: [1]})
    table = of_frame(frame, 1, caption=text)
    for line in table.text().splitlines():
        assert line.isprintable()
    assert clean(text) in table.text()
    tags = set(re.findall(r"</?(\w+)", table.html()))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "caption"}


@given(st.text())
def test_cleaned_text_is_harmless(text: str) -> None:
    cleaned = clean(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200f]", cleaned)
    assert "<" not in escape(text)
    assert clean(cleaned) == cleaned


def test_a_hostile_process_on_a_card() -> None:
    run = finished(comm=b"<b>\x1b[2Jx")
    assert "\x1b" not in CARD.text(run)
    assert "<b>" in CARD.text(run)
    assert "<b>" not in CARD.html(run)
    assert run.df()["comm"].tolist()[0] == "<b>\x1b[2Jx"  # data stays as it is


def test_the_sum_claims_no_more_than_is_true() -> None:
    assert sum_text(Stats(hits=5, rows=5)).startswith("hits 5 = rows 5 + filtered 0")
    assert sum_text(Stats(hits=5, rows=10)) == "hits 5; rows 10, filtered 0, sampled 0, dropped 0"
    returns = account({"hits": 3, "rows": 3, "entries": 5, "unpaired": 1}, 3, over=True,
                      is_return=True, in_flight=1)  # fmt: skip
    assert "entries 5 = hits 3 + unpaired 1 + in flight 1" in sum_text(returns)


def test_stats_are_attributes_and_a_mapping() -> None:
    stats = Stats(hits=2, rows=1, filtered=1, missed=None)
    assert dict(stats) == {"hits": 2, "rows": 1, "filtered": 1, "sampled": 0, "dropped": 0,
                           "missed": None}  # fmt: skip
    assert stats["hits"] == stats.hits == 2
    with pytest.raises(KeyError):
        stats["entries"]


def test_no_hit_says_why_that_may_be() -> None:
    text = str(finished(rows=0, follow=True, command="ls"))
    assert "no hit: it was not called while probed, by nobody" in text
    assert "inlined" in text


def test_filters_that_leave_nothing_are_named() -> None:
    counters = {"hits": 1000, "filtered": 1000}
    run = finished(rows=0, more={"counters": counters}, follow=True, command="ls", pid=7)
    assert (
        "no row: all 1 000 hits were left out by --follow (not of the command or its descendants), "
        "--pid 7"
    ) in str(run).replace("\u202f", " ")


def test_a_body_that_emits_nothing_says_so() -> None:
    text = str(finished(rows=0, more={"counters": {"hits": 5, "filtered": 2}}))
    assert "no row: no emit() was reached in 3 hits" in text


def test_what_was_missed_has_its_reasons() -> None:
    run = finished(more={"missed": 5, "missed_by": {"probe": 0, "return": 3, "program": 2}})
    assert run.stats.missed == 5
    assert "5 hits never reached the handler: 3 of calls beyond those" in str(run)
    assert "2 while a BPF program was running" in str(run)


def test_aggregates_on_the_card() -> None:
    keys = (Field("comm", CType("string", 16), 0),)
    hist = Aggregate("m", "hist(n, by = comm)", "hist", keys, 24, CType("int", 8, True))
    key = b"<b>".ljust(16, b"\0")
    blob = b"".join(key + struct.pack("<iiQq", b, 0, 10 * b, 0) for b in (1, 4))
    index = [{"map": "m", "key_size": 24, "entries": 2}]
    run = finished(rows=0, aggregates=(hist,), more={"maps": index, "blob": blob,
                                                     "counters": {"hits": 50}})  # fmt: skip
    text = CARD.text(run)
    assert "hist(n, by = comm)" in text
    assert re.search(r"<b>\s+\[1, 2\)\s+10  █{8}\n", text)
    assert re.search(r"<b>\s+\[8, 16\)\s+40  █{30}$", text)
    assert "&lt;b&gt;" in CARD.html(run)


def test_a_histogram_by_a_key_with_a_long_name() -> None:
    name = "n" * 300 + "\u202e"
    frame = pd.DataFrame({name: ["a"], "low": [1], "high": [2], "count": [3]})
    assert of_histogram(frame, "h").headers[0] == clean(name)


def test_an_empty_histogram() -> None:
    frame = pd.DataFrame({"low": [], "high": [], "count": []}, dtype="int64")
    assert "count" in of_histogram(frame, "hist(n)").text()


def test_a_lost_target_shows_the_kernels_last_words() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.rows(run, 1)
        end.words = "BUG: kernel NULL pointer dereference\n<b>RIP</b>"
        end.hang_up()

    run = a_run(Connection(FarEnd({"start": start})), view=CARD).start()
    assert run.wait(5)
    assert "stopped (target-lost)  1 row  " in CARD.text(run)
    assert "BUG: kernel NULL pointer dereference" in CARD.text(run)
    assert "&lt;b&gt;RIP" in CARD.html(run)


def test_a_dry_run_shows_its_source() -> None:
    connection = Connection(FarEnd())
    connection.wait_for_hello()
    run = a_run(connection, view=CARD, dry_run=True)
    assert CARD.text(run).splitlines()[0] == "■ vfs_read  dry run   bpf on far 6.1.0-test"
    assert "int kp_0;" in CARD.text(run)
    assert run.stopped_by is None


def test_a_command_that_ran_elsewhere_says_so() -> None:
    note = "'/home/ada' is not in the sandbox: it is a home directory"
    end = FarEnd({"start": started, "stop": stopped})
    end.workdir_note = note  # type: ignore[attr-defined]
    with Connection(end) as connection:
        connection.wait_for_hello()
        alone = a_run(connection, view=CARD).start()
        run = a_run(connection, view=CARD, command="ls", symbol="vfs_write").start()
        for each in (alone, run):
            each.stop()
        assert note in CARD.text(run)
        assert note in html.unescape(CARD.html(run))
        assert note not in CARD.text(alone)


def test_a_source_keeps_its_form_and_no_terminal_codes() -> None:
    connection = Connection(FarEnd())
    connection.wait_for_hello()
    run = a_run(connection, view=CARD, dry_run=True)
    text = f"int f(void)\n{{\n\treturn 0; /* {'x' * 300} \x1b[31m */\n}}"
    source = replace(run.artifact.source, files={"handler.bpf.c": text})
    run.artifact = replace(run.artifact, source=source)
    wanted = text.replace("\x1b[31m", "").expandtabs()
    assert wanted in CARD.text(run)
    assert wanted in html.unescape(CARD.html(run))


def test_only_a_head_when_no_table_is_wanted() -> None:
    assert len(str(finished(show="none")).splitlines()) == 1


def test_a_name_may_be_a_pointer_in_one_emit_and_text_in_another() -> None:
    shapes = [layout(0, ("p", CType("pointer", 8))), layout(1, ("p", CType("string", 16)))]
    size = size_of(*shapes)
    recording = Recording(shapes, [], size)
    recording.feed(record(shapes[0], {"p": 16}, size=size)
                   + record(shapes[1], {"p": b"sixteen"}, size=size))  # fmt: skip
    run = finished(rows=0)
    run._life.recording = recording
    assert "16" in CARD.text(run)
    assert "sixteen" in CARD.text(run)


def test_pointers_are_hexadecimal() -> None:
    pointer = layout(0, ("file", CType("pointer", 8)))
    recording = Recording([pointer], [], HEADER_SIZE + 8)
    recording.feed(record(pointer, {"file": 0xFFFF888000000000}, size=HEADER_SIZE + 8))
    run = finished(rows=0)
    run._life.recording = recording
    assert "0xffff888000000000" in CARD.text(run)
    assert run.df()["file"].tolist() == [0xFFFF888000000000]
