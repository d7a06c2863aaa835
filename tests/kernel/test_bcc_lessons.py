# SPDX-License-Identifier: MIT
"""%%bcc: more kprobe lessons of BCC's Python tutorial as cells; test_bcc.py has the others.

The C is the tutorial's (docs/tutorial_bcc_python_developer.md of BCC); requests of a disk end in
blk_mq_end_request, for blk_account_io_done is inlined or renamed on some kernels.
A cell compiles in 5 to 20 s under emulation, so by default the largest runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import kpmagic
from kpmagic.channel.connection import Connection

ALL = "KPMAGIC_BCC_CASES"  # set: every lesson, as of test_cases.py every case
more = pytest.mark.skipif(not os.environ.get(ALL), reason=f"{ALL} is not set: 6 to 20 s each")
SYNCS = "i=0; while [ $i -lt 7 ]; do sync; i=$((i+1)); done"
BLOCKS = 50
READ = f"dd if=/dev/nullb0 of=/dev/null bs=4096 count={BLOCKS} iflag=direct"

# lesson 2: sys_sync()
SYNC = """\
int hello(void *ctx) { bpf_trace_printk("sys_sync() called\\n"); return 0; }
"""
# lesson 3: hello_fields.py
FIELDS = """\
// define BPF program
int hello(void *ctx) {
    bpf_trace_printk("Hello, World!\\n");
    return 0;
}
"""
# lesson 6: disksnoop.py
DISKSNOOP = """\
#include <uapi/linux/ptrace.h>
#include <linux/blk-mq.h>

BPF_HASH(start, struct request *);

void trace_start(struct pt_regs *ctx, struct request *req) {
	// stash start timestamp by request ptr
	u64 ts = bpf_ktime_get_ns();

	start.update(&req, &ts);
}

void trace_completion(struct pt_regs *ctx, struct request *req) {
	u64 *tsp, delta;

	tsp = start.lookup(&req);
	if (tsp != 0) {
		delta = bpf_ktime_get_ns() - *tsp;
		bpf_trace_printk("%d %x %d\\n", req->__data_len,
			req->cmd_flags, delta / 1000);
		start.delete(&req);
	}
}
"""
# lesson 8: sync_perf_output.py, lesson 4 with BPF_PERF_OUTPUT
SYNC_PERF = """\
#include <uapi/linux/ptrace.h>

struct data_t {
    u64 ms;
};
BPF_HASH(last);
BPF_PERF_OUTPUT(events);

int do_trace(struct pt_regs *ctx) {
    u64 ts, *tsp, delta, key = 0;

    tsp = last.lookup(&key);
    if (tsp != NULL) {
        delta = bpf_ktime_get_ns() - *tsp;
        if (delta < 1000000000) {
            struct data_t data = { .ms = delta / 1000000 };
            events.perf_submit(ctx, &data, sizeof(data));
        }
        last.delete(&key);
    }

    ts = bpf_ktime_get_ns();
    last.update(&key, &ts);
    return 0;
}
"""
# lesson 9: bitehist.py
BITEHIST = """\
#include <uapi/linux/ptrace.h>
#include <linux/blk-mq.h>

BPF_HISTOGRAM(dist);

int kprobe__blk_mq_end_request(struct pt_regs *ctx, struct request *req)
{
	dist.increment(bpf_log2l(req->__data_len / 1024));
	return 0;
}
"""
# lesson 10: disklatency.py, lesson 6 with a histogram
DISKLATENCY = DISKSNOOP.replace("struct request *);", "struct request *);\nBPF_HISTOGRAM(dist);")
DISKLATENCY = DISKLATENCY.replace("""\
		bpf_trace_printk("%d %x %d\\n", req->__data_len,
			req->cmd_flags, delta / 1000);
""", """\
		dist.increment(bpf_log2l(delta / 1000));
""")  # fmt: skip
REQUESTS = ("trace_start=blk_mq_start_request", "trace_completion=blk_mq_end_request")


@pytest.fixture
def disk(sandbox: Connection) -> Iterator[Connection]:
    """A sandbox with a disk, whose every read is one request."""
    assert sandbox.run("modprobe null_blk") == 0
    yield sandbox
    sandbox.run("modprobe -r null_blk")


@more
def test_lesson_2_prints_a_line_for_each_sync(sandbox: Connection) -> None:
    run = kpmagic.bcc(SYNC, "__x64_sys_sync", target=sandbox, command=SYNCS)
    assert run.df().text.tolist() == ["sys_sync() called"] * 7


@more
def test_lesson_3_has_the_fields_of_a_line(sandbox: Connection) -> None:
    command = "bash -c 'for i in 1 2 3 4 5; do (:); done; echo $$'"
    run = kpmagic.bcc(FIELDS, "__x64_sys_clone", target=sandbox, command=command)
    assert run.workload is not None
    frame = run.df()
    mine = frame[frame.pid == int(run.workload.stdout)]
    assert mine.text.tolist() == ["Hello, World!"] * 5
    assert mine.comm.eq("bash").all()


def test_lesson_6_times_each_request_of_a_disk(disk: Connection) -> None:
    run = kpmagic.bcc(DISKSNOOP, *REQUESTS, target=disk, command=READ)
    fields = run.df().text.str.split(expand=True)
    assert fields[0].tolist() == ["4096"] * BLOCKS
    assert (fields[1].map(lambda flags: int(flags, 16) & 0xFF) == 0).all()  # REQ_OP_READ
    assert fields[2].astype(int).ge(0).all()
    assert run.aggregates["start"].empty


@more
def test_lesson_8_has_its_intervals_as_rows(sandbox: Connection) -> None:
    run = kpmagic.bcc(SYNC_PERF, "__x64_sys_sync", target=sandbox, command=SYNCS)
    # each second call finds what the one before has left
    assert 1 <= run.stats.rows <= 6
    assert run.df().ms.between(0, 999).all()


@more
def test_lesson_9_has_a_histogram_of_sizes(disk: Connection) -> None:
    run = kpmagic.bcc(BITEHIST, target=disk, command=READ)
    table = run.aggregates["dist"]
    assert table[["low", "high", "count"]].to_numpy().tolist() == [[4, 8, BLOCKS]]


@more
def test_lesson_10_has_a_histogram_of_latencies(disk: Connection) -> None:
    run = kpmagic.bcc(DISKLATENCY, *REQUESTS, target=disk, command=READ)
    assert run.aggregates["dist"]["count"].sum() == BLOCKS
    assert run.aggregates["start"].empty
