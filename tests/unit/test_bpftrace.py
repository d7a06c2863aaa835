# SPDX-License-Identifier: MIT
"""What bpftrace prints as rows and tables, and its errors at the cell's lines."""

from __future__ import annotations

import json
from typing import Any

import far_end
import numpy as np
import pytest

import kpmagic
from kpmagic.cell.script import parse_script, script_from_keywords
from kpmagic.channel.connection import Connection
from kpmagic.channel.refusals import ToolRefusal
from kpmagic.peers.maps import maps_of
from kpmagic.peers.output import Output
from kpmagic.peers.refusals import explain
from kpmagic.peers.run import PeerRun
from kpmagic.tracers import is_old


def output(script: str, *messages: tuple[str, Any], piece: int = 7) -> Output:
    """What becomes of messages that come in small pieces."""
    data = b"".join(json.dumps({"type": kind, "data": data}).encode() + b"\n"
                    for kind, data in messages)  # fmt: skip
    found = Output(script)
    for at in range(0, len(data), piece):
        found.feed(data[at : at + piece])
    found.end()
    return found


def test_a_scripts_maps_have_the_names_of_their_keys() -> None:
    script = """
    // @no[pid] = count()
    kprobe:f { @[comm] = count(); @s[str(args->filename), arg0] = hist(arg2); @x++; @ok[1] = 2;
      @st[kstack(3), ustack] = sum(1); printf("@not[%d]", @k[pid, pid]); }
    """
    found = maps_of(script)
    assert set(found) == {"@", "@s", "@x", "@ok", "@st", "@k"}
    assert (found["@"].keys, found["@"].function) == (("comm",), "count")
    assert found["@s"].keys == ("filename", "arg0")
    assert found["@s"].texts == (True, False)
    assert found["@x"].keys == ()
    assert found["@ok"].keys == ("key1",)
    assert found["@st"].keys == ("kstack", "ustack")
    assert found["@k"].keys == ("pid", "pid_2")


def test_lines_are_rows_however_they_are_printed() -> None:
    found = output("", ("attached_probes", {"probes": 2}), ("printf", "a\nb"), ("printf", "c\n"),
                   ("time", "08:45\n"), ("value", [1, "x"]), ("printf", "last"))  # fmt: skip
    frame = found.df()
    assert list(frame.text) == ["a", "bc", "08:45", '[1, "x"]', "last"]
    assert list(frame.type.astype(str)) == ["printf", "printf", "time", "value", "printf"]
    assert str(frame.time.dtype) == "datetime64[ns]"
    assert found.rows == 5


def test_what_is_not_json_is_a_line_too() -> None:
    found = Output()
    found.feed(b'total 4\n{"type": 3}\n\xff\n{"type":')
    found.end()
    assert list(found.df().text) == ["total 4", '{"type": 3}', "\ufffd", '{"type":']


def test_keys_are_columns_of_their_kind() -> None:
    script = "kprobe:f { @k[comm, pid] = sum(arg2); @c[comm] = count(); @n[arg0] = max(arg1) }"
    found = output(script, ("map", {"@k": {"cat,12": 5, "a,b,7": 9}}),
                   ("map", {"@c": {"12": 3, "7": 1}}),
                   ("map", {"@n": {"-3": 1, "20": 7}})).aggregates()  # fmt: skip
    assert found["@k"].to_dict("list") == {"comm": ["a,b", "cat"], "pid": [7, 12], "value": [9, 5]}
    assert found["@c"].to_dict("list") == {"comm": ["12", "7"], "count": [3, 1]}
    assert found["@n"].to_dict("list") == {"arg0": [-3, 20], "value": [1, 7]}


def test_a_key_may_be_called_as_what_is_counted_by_it() -> None:
    script = ("tracepoint:syscalls:sys_enter_read { @n[args->count] = count(); "
              "@h[args->low] = hist(arg1); @none[args->count] = count() }")  # fmt: skip
    found = output(script, ("map", {"@n": {"512": 3, "8": 1}}),
                   ("hist", {"@h": {"7": [{"min": 8, "max": 15, "count": 2}]}}),
                   ("map", {"@none": {}})).aggregates()  # fmt: skip
    assert found["@n"].to_dict("list") == {"count_1": [8, 512], "count": [1, 3]}
    assert found["@h"].to_dict("list") == {"low_1": [7], "low": [8], "high": [16], "count": [2]}
    assert list(found["@none"].columns) == ["count_1", "count"]


def test_histograms_have_bounds_and_no_empty_buckets() -> None:
    buckets = [{"max": -1, "count": 2}, {"min": 0, "max": 0, "count": 0},
               {"min": 2, "max": 3, "count": 4}, {"min": 1000, "count": 1}]  # fmt: skip
    script = "kprobe:f { @h = hist(arg1); @by[comm] = hist(arg1) }"
    found = output(script, ("hist", {"@h": buckets}), ("hist", {"@by": {"b": buckets}}))
    frame = found.aggregates()["@h"]
    least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    assert frame.to_dict("list") == {"low": [least, 2, 1000], "high": [0, 4, most],
                                     "count": [2, 4, 1]}  # fmt: skip
    assert list(found.aggregates()["@by"].columns) == ["comm", "low", "high", "count"]


def test_statistics_and_scalars() -> None:
    script = "kprobe:f { @s = stats(arg1); @ks[comm] = stats(arg1); @a = avg(arg1); @x = 3 }"
    numbers = {"count": 2, "average": 5, "total": 10}
    found = output(script, ("stats", {"@s": numbers}), ("stats", {"@ks": {"count": numbers}}),
                   ("stats", {"@a": 4}), ("map", {"@x": -3}),
                   ("map", {"@t": [1, "a"]}))  # fmt: skip
    tables = found.aggregates()
    assert tables["@s"].to_dict("records") == [numbers]
    assert tables["@ks"].to_dict("records") == [{"comm": "count", **numbers}]
    assert tables["@a"].to_dict("list") == {"value": [4]}
    assert tables["@x"].to_dict("list") == {"value": [-3]}
    assert tables["@t"].value.iloc[0] == [1, "a"]


def test_the_last_state_of_a_map_counts_and_losses_add_up() -> None:
    found = output("", ("map", {"@": 1}), ("lost_events", {"events": 30}), ("map", {"@": 2}),
                   ("lost_events", {"events": 12}))  # fmt: skip
    assert found.aggregates()["@"].value.tolist() == [2]
    assert found.lost == 42


def test_stacks_of_the_same_functions_are_one() -> None:
    stacks = {"\n    vfs_read+1\n    ksys_read+107\n": 4, "\n    vfs_read+1\n    ksys_read+9\n": 2}
    found = output("kprobe:f { @[kstack(2)] = count() }", ("map", {"@": stacks})).aggregates()
    assert found["@"].to_dict("list") == {"kstack": ["ksys_read;vfs_read"], "count": [6]}


def test_the_magic_line_knows_its_options() -> None:
    asked = parse_script("bpftrace", "--for 2s -o r --name mine", "BEGIN { }")
    assert (asked.options.duration, asked.options.out, asked.name) == (2 * 10**9, "r", "mine")
    assert parse_script("bpftrace", "", 'BEGIN { } kprobe:vfs_read { }').name == "kprobe:vfs_read"
    for line, words in (("vfs_read", "is no option"), ("--where x", "has no option"),
                        ("--fro 2s", "did you mean --for")):  # fmt: skip
        with pytest.raises(kpmagic.CellError, match=words):
            parse_script("bpftrace", line, "BEGIN { }")
    for nothing in (" \n", None):
        with pytest.raises(kpmagic.CellError, match="empty"):
            script_from_keywords("bpftrace", nothing, {})  # type: ignore[arg-type]


def refusal(said: str, script: str = "BEGIN { }\nEND { foo }", version: str = "") -> Exception:
    asked = parse_script("bpftrace", "", script, cell="In[3]")
    return explain(ToolRefusal("bpftrace ended with 1", 1, said), asked, "far", lambda: version)


def test_its_errors_stand_at_the_cells_lines() -> None:
    error = refusal("stdin:2:7-10: ERROR: Unknown identifier: 'foo'\nEND { foo }\n")
    assert isinstance(error, kpmagic.BuildError)
    assert error.message == "Unknown identifier: 'foo'"
    assert error.place is not None
    assert (error.place.line, error.place.column, error.place.cell) == (3, 7, "In[3]")
    several = refusal("stdin:1-2: ERROR: a\nstdin:2:1: ERROR: b\n")
    assert "a; 1 more" in str(several)
    assert "ended with 1\nno such luck" in str(refusal("no such luck"))


def test_what_the_kernel_refused_is_named() -> None:
    said = ("stdin:1:1-16: WARNING: vfs_raed is not traceable\nkprobe:vfs_raed { }\n~~~~~\n"
            "cannot attach kprobe, probe entry may not exist\n"
            "ERROR: Error attaching probe: 'kprobe:vfs_raed'\n")  # fmt: skip
    error = refusal(said, "kprobe:vfs_raed { }")
    assert isinstance(error, kpmagic.AttachError)
    assert "WARNING" not in str(error)
    assert error.place is not None
    assert error.place.line == 2
    newer = refusal("stdin:1:1-16: ERROR: No matches for kprobe vfs_raed.\nkprobe:vfs_raed { }\n",
                    "kprobe:vfs_raed { }")  # fmt: skip
    assert isinstance(newer, kpmagic.AttachError)
    assert newer.place is not None
    assert (newer.place.line, newer.place.column) == (2, 1)


def test_an_old_one_says_so() -> None:
    error = refusal("bpftrace: invalid option -- 'f'", version="bpftrace v0.9.0")
    assert isinstance(error, kpmagic.MissingDependency)
    assert "v0.9.0, needed is 0.12 or newer" in str(error)
    assert is_old("bpftrace", "bpftrace v0.17.0") is False
    assert is_old("bpftrace", "nothing") is False


def test_a_missing_one_is_named_with_what_installs_it() -> None:
    def missing(end: far_end.FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
        end.refuse(run, message, kind="missing", message="bpftrace", errno=None, log=None)

    with Connection(far_end.FarEnd({"peer": missing})) as connection:
        run = PeerRun(connection, parse_script("bpftrace", "", "BEGIN { }"))
        with pytest.raises(kpmagic.MissingDependency, match="apt-get install bpftrace"):
            run.start()
        assert run.state == "failed"
