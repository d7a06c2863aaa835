# SPDX-License-Identifier: MIT
"""BCC as its own tools use it: a C text, a callback for each event, a lost_cb.

``python3 bcc_tool.py CALLS``, CALLS being the workload's program. Compiles once, as a BCC tool
does at its start; when its first probe is there prints "attached" and how many s that took. Then
each line of input, ``SHAPE perf|ring N``, is answered by one of output: what the workload printed
under that probe, events delivered, events lost as lost_cb was told, processor time of this process
in ns.
"""

import os
import subprocess
import sys
import time

from bcc import BPF

COMMON = """
#include <uapi/linux/ptrace.h>
#include <linux/fs.h>
#include <linux/sched.h>
struct table_key { char comm[16]; s32 slot; };
BPF_HASH(calls, u32, u64);
BPF_HASH(counts, struct table_key, u64);
BPF_HISTOGRAM(sizes, struct table_key);
BPF_STACK_TRACE(stacks, 10240);
#define FILL(e)                                           \\
    u64 id = bpf_get_current_pid_tgid();                  \\
    e.ts = bpf_ktime_get_ns();                            \\
    e.pid = id >> 32;                                     \\
    e.tid = id;                                           \\
    e.cpu = bpf_get_smp_processor_id();                   \\
    bpf_get_current_comm(e.comm, sizeof(e.comm));
int counted(struct pt_regs *ctx)
{
    struct table_key k = {};
    bpf_get_current_comm(k.comm, sizeof(k.comm));
    counts.increment(k);
    return 0;
}
int histogram(struct pt_regs *ctx, struct file *file, char *buf, size_t count)
{
    struct table_key k = {.slot = bpf_log2l(count)};
    bpf_get_current_comm(k.comm, sizeof(k.comm));
    sizes.increment(k);
    return 0;
}
int returned_entry(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    u64 ts = bpf_ktime_get_ns();
    calls.update(&tid, &ts);
    return 0;
}
"""
# shape → the columns of its event, and how they are filled
EVENTS = {
    "empty": ("", ""),
    "integers": ("u64 file, buf, count;",
                 "e.file = (u64)file; e.buf = (u64)buf; e.count = count;"),
    "string": ("char name[128];", "bpf_probe_read_kernel_str(e.name, sizeof(e.name), "
                                  "file->f_path.dentry->d_name.name);"),
    "stack": ("int stack;", "e.stack = stacks.get_stackid(ctx, 0);"),
    "returned": ("s64 retval; u64 latency;", """
    u32 tid = bpf_get_current_pid_tgid();
    u64 *ts = calls.lookup(&tid);
    if (!ts)
        return 0;
    e.retval = PT_REGS_RC(ctx);
    e.latency = e.ts - *ts;
    calls.delete(&tid);"""),
}
EVENT = """
struct event_SHAPE { u64 ts; u32 pid, tid, cpu; char comm[16]; COLUMNS };
BPF_PERF_OUTPUT(perf_SHAPE);
int perf_of_SHAPE(struct pt_regs *ctxARGUMENTS)
{
    struct event_SHAPE e = {};
    FILL(e)
    COLUMNS_FILLED
    perf_SHAPE.perf_submit(ctx, &e, sizeof(e));
    return 0;
}
BPF_RINGBUF_OUTPUT(ring_SHAPE, 2048);
int ring_of_SHAPE(struct pt_regs *ctxARGUMENTS)
{
    struct event_SHAPE e = {};
    FILL(e)
    COLUMNS_FILLED
    ring_SHAPE.ringbuf_output(&e, sizeof(e), 0);
    return 0;
}
"""
PLACE = b"vfs_read"


def source() -> str:
    """Return the text that BCC compiles."""
    pieces = [COMMON]
    for shape, (columns, fill) in EVENTS.items():
        arguments = "" if shape == "returned" else ", struct file *file, char *buf, size_t count"
        piece = EVENT.replace("SHAPE", shape).replace("ARGUMENTS", arguments)
        pieces.append(piece.replace("COLUMNS_FILLED", fill).replace("COLUMNS", columns))
    return "".join(pieces)


class Tool:
    """The program, and what it has been told of events."""

    def __init__(self) -> None:
        self.bpf = BPF(text=source())
        self.delivered = self.lost = 0
        for shape in EVENTS:
            self.open(f"perf_{shape}")
            self.open(f"ring_{shape}")

    def open(self, name: str) -> None:
        """Have a callback called for the events of one output, as tools do."""
        table = self.bpf[name]

        def take(context: object, data: object, size: int) -> None:
            event = table.event(data)
            self.delivered += event.pid > 0

        def lose(count: int) -> None:
            self.lost += count

        if name.startswith("perf"):
            table.open_perf_buffer(take, lost_cb=lose)
        else:
            table.open_ring_buffer(take)

    def attach(self, shape: str, output: str) -> None:
        """Plant the probes of a shape."""
        name = f"{output}_of_{shape}" if shape in EVENTS else shape
        if shape == "returned":
            self.bpf.attach_kprobe(event=PLACE, fn_name=b"returned_entry")
            self.bpf.attach_kretprobe(event=PLACE, fn_name=name.encode())
        else:
            self.bpf.attach_kprobe(event=PLACE, fn_name=name.encode())

    def detach(self, shape: str) -> None:
        """Take them out."""
        self.bpf.detach_kprobe(event=PLACE)
        if shape == "returned":
            self.bpf.detach_kretprobe(event=PLACE)

    def poll(self, output: str, timeout: int) -> None:
        """Have the callbacks called."""
        if output == "perf":
            self.bpf.perf_buffer_poll(timeout=timeout)
        else:
            self.bpf.ring_buffer_poll(timeout=timeout)

    def run(self, shape: str, output: str, calls: str) -> str:
        """Run the workload under a shape's probe; return the line that answers."""
        self.delivered = self.lost = 0
        self.attach(shape, output)
        before = time.process_time_ns()
        with subprocess.Popen([PROGRAM, calls], stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                self.poll(output, 10)
            said = process.stdout.read().strip()
        for _ in range(20):  # what is still in the buffers
            self.poll(output, 10)
        used = time.process_time_ns() - before
        self.detach(shape)
        return f"{said} {self.delivered} {self.lost} {used}"


PROGRAM = sys.argv[1]
tool = Tool()
tool.attach("integers", "perf")
with open("/proc/self/stat") as stat:  # man 5 proc: field 22, ticks from boot to its start
    began = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
print("attached", time.clock_gettime(time.CLOCK_BOOTTIME) - began, flush=True)
tool.detach("integers")
for line in sys.stdin:
    print(tool.run(*line.split()), flush=True)
