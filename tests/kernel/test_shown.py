# SPDX-License-Identifier: MIT
"""Plots, stacks and exports of what a real kernel said."""

from __future__ import annotations

from pathlib import Path

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.view.plots import KINDS

COMMAND = "cat /etc/passwd /etc/group"


def test_stacks_of_rows_and_of_keys(sandbox: Connection, tmp_path: Path) -> None:
    body = "emit(count, stack = kstack()); count(by = kstack(), label = 'calls');".replace("'", '"')
    run = kpmagic.probe("vfs_read", body, target=sandbox, command=COMMAND, follow=True)
    for figure in (run.flame(), run.flame(label="calls")):
        (trace,) = figure.data
        weights = dict(zip(trace.labels, trace.values, strict=True))
        assert weights["all"] == run.stats.rows
        assert "ksys_read" in weights
        assert 0 < weights["ksys_read"] <= weights["all"]
    lines = run.export("folded", tmp_path / "folded").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == run.stats.rows
    assert all(line.partition(" ")[0].endswith("vfs_read") for line in lines)
    assert run.export("csv", tmp_path / "csv").stat().st_size


def test_calls_as_slices_and_every_kind_of_plot(sandbox: Connection, tmp_path: Path) -> None:
    run = kpmagic.retprobe("vfs_read", "emit(count, retval, latency);", target=sandbox,
                           command=COMMAND, follow=True)  # fmt: skip
    packets = Trace.FromString(run.export("perfetto", tmp_path / "trace").read_bytes()).packet
    events = [packet.track_event for packet in packets if packet.HasField("track_event")]
    assert len(events) == 2 * run.stats.rows
    assert {event.name for event in events} == {"vfs_read", ""}
    for kind in KINDS:
        assert run.plot(kind).data
    assert run.plot("hist", "latency").layout.xaxis.title.text.startswith("latency")
    assert not kpmagic.compare(run, run).df["differs"].any()
