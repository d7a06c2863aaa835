# SPDX-License-Identifier: MIT
"""BCC's dialect: what a source says of itself, what its process prints, the types it is given."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kpmagic
from kpmagic.cell.script import parse_script
from kpmagic.channel.refusals import ToolRefusal
from kpmagic.kernel.pruned import pruned
from kpmagic.peers.bcc_output import BccOutput
from kpmagic.peers.dialect import Wanted, functions_of, places_of, tables_of, traces
from kpmagic.peers.refusals import explain

SOURCE = """\
// BPF_HASH(no);
BPF_HASH(counts, u32);
BPF_HISTOGRAM(sizes);
BPF_HISTOGRAM(slots, struct key, 64);
BPF_HISTOGRAM(steps, int);
BPF_PERF_OUTPUT(events);
BPF_STACK_TRACE(stacks, 1024);
BPF_TABLE("percpu_hash", u32, u64, per, 100);
struct key { u32 pid; u64 slot; };
static inline int helper(int x) { return x; }
int do_entry(struct pt_regs *ctx, int a) {
    if (a) { sizes.increment(bpf_log2l(a)); }
    struct key key = { .slot = bpf_log2(a) };
    slots.increment(key); steps.atomic_increment(a / 10);
    return helper(0);
}
int kprobe__vfs_open(void *ctx) { return 0; }
TRACEPOINT_PROBE(a, b) { return 0; }
int do_return(struct pt_regs *ctx) { char text[] = "bpf_trace_printk { BPF_HASH(x);"; return 0; }
"""


def output(*messages: dict[str, Any]) -> BccOutput:
    found = BccOutput()
    data = "".join(json.dumps(message) + "\n" for message in messages).encode()
    for at in range(0, len(data), 11):
        found.feed(data[at : at + 11])
    found.end()
    return found


def test_a_source_says_what_its_tables_are() -> None:
    assert tables_of(SOURCE) == {
        "counts": "hash", "sizes": "log2", "slots": "log2", "steps": "log2", "events": "perf",
        "stacks": "stack", "per": "hash",
    }  # fmt: skip
    assert tables_of("BPF_HISTOGRAM(h);\nint f(void *c) { h.increment(3); }") == {"h": "linear"}
    assert not traces(SOURCE)
    assert traces('int f(void *ctx) { bpf_trace_printk("x"); }')


def test_its_functions_go_where_the_line_says() -> None:
    assert functions_of(SOURCE) == ["do_entry", "do_return"]
    line = "do_entry=vfs_read do_return=vfs_read%return"
    assert places_of(parse_script("bcc", line, SOURCE)) == [
        Wanted("do_entry", "vfs_read", False), Wanted("do_return", "vfs_read", True),
    ]  # fmt: skip
    one = "int f(void *ctx) { return 0; }"
    assert places_of(parse_script("bcc", "vfs_read vfs_write%return", one)) == [
        Wanted("f", "vfs_read", False), Wanted("f", "vfs_write", True),
    ]  # fmt: skip
    assert places_of(parse_script("bcc", "", "int kprobe__f(void *ctx) { return 0; }")) == []


@pytest.mark.parametrize(("line", "words"), [
    ("vfs_read", "which of 2 functions"),
    ("do_entry=vfs_read", "do_return: attached nowhere"),
    ("nothing=vfs_read", "no function 'nothing'"),
    ("do_entry=0xffffffff81000000 do_return=f", "by their names"),
])  # fmt: skip
def test_what_goes_nowhere_is_told(line: str, words: str) -> None:
    with pytest.raises(kpmagic.CellError, match=words):
        places_of(parse_script("bcc", line, SOURCE))


def test_rows_have_the_columns_of_their_events() -> None:
    found = output(
        {"type": "row", "event": "events", "time": 5, "data": {"cpu": 1, "pid": 7, "comm": "a"}},
        {"type": "row", "event": "trace_printk", "time": 6, "data": {"cpu": 0, "text": "hi"}},
        {"type": "lost_events", "data": {"events": 30}},
    )
    frame = found.df()
    assert list(frame.columns) == ["time", "event", "cpu", "pid", "comm", "text"]
    assert frame.pid.tolist()[0] == 7
    assert frame.pid.isna().tolist() == [False, True]
    assert frame.event.astype(str).tolist() == ["events", "trace_printk"]
    assert (found.rows, found.lost) == (2, 30)
    assert list(found.df("arrow").column_names) == list(frame.columns)


def test_numbers_keep_64_bits() -> None:
    rows = [{"type": "row", "event": "e", "time": 0, "data": {"a": a, "b": -a, "c": a}}
            for a in (1, (1 << 64) - 1)]  # fmt: skip
    frame = output(*rows).df()
    assert frame.a.tolist() == [1, (1 << 64) - 1]
    assert str(frame.a.dtype) == "uint64"


def test_tables_are_keys_and_values() -> None:
    found = output(
        {"type": "table", "name": "c", "kind": "hash", "keys": ["pid", "comm"],
         "columns": ["value"], "rows": [[9, "b", 1], [2, "a", 3]]},
        {"type": "table", "name": "h", "kind": "log2", "keys": ["key"], "columns": ["value"],
         "rows": [[4, 2], [0, 1], [1, 7], [9, 0]]},
        {"type": "table", "name": "l", "kind": "linear", "keys": ["disk", "slot"],
         "columns": ["value"], "rows": [["sda", 4, 2]]},
        {"type": "table", "name": "none", "kind": "hash", "keys": [], "columns": [], "rows": []},
    ).aggregates()  # fmt: skip
    assert found["c"].to_dict("list") == {"pid": [2, 9], "comm": ["a", "b"], "value": [3, 1]}
    assert found["h"].to_dict("list") == {"low": [0, 0, 8], "high": [1, 2, 16],
                                          "count": [1, 7, 2]}  # fmt: skip
    assert found["l"].to_dict("list") == {"disk": ["sda"], "low": [4], "high": [5], "count": [2]}
    assert list(found["none"].columns) == ["key", "value"]


def test_names_met_twice_stay_apart() -> None:
    found = output(
        {"type": "row", "event": "e", "time": 5, "data": {"time": 7, "event": "x", "n": None}},
        {"type": "table", "name": "c", "kind": "hash", "keys": ["value", "pid"],
         "columns": ["pid", "value"], "rows": [[1, 2, 3, 4]]},
        {"type": "table", "name": "h", "kind": "log2", "keys": ["low", "slot"],
         "columns": ["value"], "rows": [["sda", 4, 2]]},
    )  # fmt: skip
    frame = found.df()
    assert list(frame.columns) == ["time", "event", "time_1", "event_1", "n"]
    assert str(frame.time.dtype) == "datetime64[ns]"
    assert (frame.time_1.tolist(), frame.event_1.tolist()) == ([7], ["x"])
    tables = found.aggregates()
    assert tables["c"].to_dict("list") == {"value_1": [1], "pid_1": [2], "pid": [3], "value": [4]}
    assert tables["h"].to_dict("list") == {"low_1": ["sda"], "low": [8], "high": [16], "count": [2]}


def refusal(code: int, *said: str) -> kpmagic.KpmagicError:
    asked = parse_script("bcc", "", SOURCE, cell="In[2]")
    return explain(ToolRefusal("bcc ended", code, "\n".join(said)), asked, "far", lambda: "")


def test_its_errors_stand_at_the_cells_lines() -> None:
    error = refusal(1, "/virtual/main.c:11:5: error: unknown type name 'x'", "  x y;",
                    "1 error generated.", "kpmagic: Failed to compile BPF module <text>")
    assert isinstance(error, kpmagic.BuildError)
    assert error.message == "unknown type name 'x'"
    assert error.place is not None
    assert (error.place.line, error.place.column, error.place.cell) == (12, 5, "In[2]")
    verifier = refusal(1, "R1 invalid mem access 'scalar'",
                       "kpmagic: Failed to load BPF program b'f': Permission denied")  # fmt: skip
    assert isinstance(verifier, kpmagic.VerifierError)
    assert "invalid mem access" in str(verifier)
    assert isinstance(refusal(1, "kpmagic: Failed to attach BPF program"), kpmagic.AttachError)
    assert "python3-bpfcc" in str(refusal(42, "kpmagic: No module named 'bcc'"))
    assert "too old: 0.12.0" in str(refusal(43, "kpmagic: 0.12.0"))
    broken = refusal(44, "kpmagic: libbcc.so.0: cannot open shared object file")
    assert isinstance(broken, kpmagic.MissingDependency)
    assert "cannot be imported: libbcc.so.0" in broken.message


HEADER = """\
#ifndef __VMLINUX_H__

typedef unsigned int u32;

struct far;

enum color {
	RED = 0,
	BLUE = 1,
};

struct inner {
	u32 x;
	enum color color;
};

struct far {
	struct inner inner;
	int (*call)(struct unused *, u32);
};

struct near {
	struct far *far;
	struct unused *other;
	struct {
		struct inner *hidden;
	};
};

struct unused {
	struct huge huge;
};

struct huge {
	char room[4096];
};
"""


def test_types_are_those_a_source_needs() -> None:
    source = "int f(struct near *near) { return near->far->inner.color == BLUE; }"
    text = pruned(HEADER, source)
    for kept in ("struct near {", "struct far {", "struct inner {", "enum color {", "u32;"):
        assert kept in text
    assert "struct unused {" not in text
    assert "struct huge" not in text
    assert "struct unused;" in text
    assert "struct far {" not in pruned(HEADER, "struct near *near;")


@pytest.mark.skipif(shutil.which("clang-19") is None, reason="needs clang-19 for a look at C")
def test_pruned_types_compile(tmp_path: Path) -> None:
    source = "int f(struct near *n) { return n->far->inner.color + n->hidden->x; }"
    file = tmp_path / "all.c"
    file.write_text(pruned(HEADER, source) + source)
    done = subprocess.run(["clang-19", "-fsyntax-only", "-Wno-visibility", str(file)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
