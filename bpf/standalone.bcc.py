#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""A cell on BCC: plants its handlers, prints rows, then tables, then where the hits went.

    sudo ./NAME.py [COMMAND [ARGUMENT…]]     until the command ends, or Ctrl-C

Needs BCC for the system's Python and the kernel's headers (Debian: python3-bpfcc, linux-headers-…).
"""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time

from bcc import BPF

# probe: begin
TEXT = ""
MAX_ROWS, SECONDS, FOLLOW, ENTRIES, MAXACTIVE = 0, 0, False, False, 0
PROGRAMS = []  # function, symbol, offset, is it a return
PLACES = []
SHAPES = []  # fields: name, kind, offset, size, count
TABLES = []  # map, label, function, size of a key, signed, low, high, step, fields
# probe: end

HEADER = struct.Struct("<QIIIHH16s")
BUCKETS = ("hist", "lhist")
stopped = printed = 0


def stop(number, frame):
    """Have the loop end."""
    global stopped
    stopped = 1


def number(data, is_signed=False):
    """Return an integer of at most 8 bytes."""
    return int.from_bytes(data[:8], "little", signed=is_signed)


def text(data):
    """Return what stands before the NUL, on one line."""
    return data.split(b"\0")[0].decode(errors="replace").replace("\t", " ").replace("\n", " ")


def value(field, record):
    """Return a field of a record as it is printed."""
    _, kind, offset, size, count = field
    data = record[offset : offset + size]
    if kind == "s":
        return text(data)
    one = size // max(count, 1)
    parts = [data[at : at + one] for at in range(0, size, one)]
    if kind == "x":
        return " ".join(f"{number(part):#x}" for part in parts)
    return " ".join(str(number(part, kind == "i")) for part in parts)


def on_row(context, data, size):
    """Print a row: struct kp_header, then the columns."""
    global printed
    if MAX_ROWS and printed >= MAX_ROWS:
        return
    printed += 1
    record = ctypes.string_at(data, size)
    ts, pid, tid, cpu, site, row, comm = HEADER.unpack_from(record)
    words = [f"{ts // 10**9}.{ts % 10**9:09}", cpu, pid, tid, text(comm)]
    words += [PLACES[site]] * (len(PLACES) > 1)
    print(*words, *(value(field, record) for field in SHAPES[row]), sep="\t")


def bounds(function, bucket, low, high, step):
    """Return the lower and the upper bound of a bucket."""
    if function == "lhist":
        if bucket <= 0:
            return "…", low
        if low + (bucket - 1) * step >= high:
            return high, "…"
        return low + (bucket - 1) * step, min(low + bucket * step, high)
    if bucket < 0:
        near = 1 << (-bucket - 1)
        return 1 - 2 * near, 1 - near
    near = 1 << (bucket - 1) if bucket else 0
    return near, 2 * near or 1


def total(function, cpus, is_signed):
    """Return what the totals of all CPUs, each a number of values and a value, are together."""
    known = [each for each in cpus if each[0]]
    values = [each[1] if is_signed else each[1] & (1 << 64) - 1 for each in known]
    if function in ("min", "max"):
        return min(values) if function == "min" else max(values)
    count = sum(each[0] for each in known)
    if function in ("count", *BUCKETS):
        return count
    added = sum(values)
    return f"{added / count:g}" if function == "avg" else added


def print_table(bpf, table):
    """Print an aggregation."""
    name, label, function, size, is_signed, low, high, step, fields = table
    names = [field[0] for field in fields] + ["low", "high"] * (function in BUCKETS)
    kind = "count" if function in ("count", *BUCKETS) else "value"
    print(f"\n#{label}", *names, kind, sep="\t")
    found = bpf.get_table(name, ctypes.c_ubyte * size, ctypes.c_int64 * 2)
    for key, totals in found.items():
        record = bytes(key)
        words = [value(field, record) for field in fields]
        if function in BUCKETS:
            bucket = number(record[size - 8 : size - 4], True)
            words += bounds(function, bucket, low, high, step)
        print(*words, total(function, [tuple(each) for each in totals], is_signed), sep="\t")


def print_sums(bpf):
    """Print where the hits went: the first words of struct kp_cpu."""
    cpus = bpf.get_table("kp_cpus", ctypes.c_int, ctypes.c_uint64 * 16)[ctypes.c_int(0)]
    sums = [sum(cpu[at] for cpu in cpus) for at in range(7)]
    print("\n#hits", "rows", "filtered", "sampled", "dropped", sep="\t")
    print(*sums[:5], sep="\t")
    if ENTRIES:
        print("\n#entries", "unpaired", sep="\t")
        print(*sums[5:], sep="\t")


def new_group():
    """Make a cgroup for the command; return its path."""
    path = f"/sys/fs/cgroup/standalone.{os.getpid()}"
    os.mkdir(path)
    return path


def start(command, group):
    """Start the command, in its cgroup."""

    def enter():
        if group:
            with open(f"{group}/cgroup.procs", "w") as file:
                file.write("0")

    try:
        return subprocess.Popen(command, preexec_fn=enter)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def watch(bpf, command, group):
    """Print rows until the command has ended, or the time is up, or somebody stops it."""
    child = start(command, group) if command else None
    end = time.monotonic() + SECONDS
    while not stopped and not (MAX_ROWS and printed >= MAX_ROWS):
        if child.poll() is not None if child else SECONDS and time.monotonic() >= end:
            break
        if SHAPES:
            bpf.ring_buffer_consume()
        time.sleep(0.01)


def main(command):
    """Run the probe."""
    if FOLLOW and not command:
        sys.exit("it follows a command: give one")
    group = new_group() if FOLLOW else ""
    try:
        inode = os.stat(group).st_ino if group else 0
        bpf = BPF(text=TEXT, cflags=[
            f"-DKP_SELF={os.getpid()}", f"-DKP_CGROUP={inode}ULL",
            "-fms-extensions", "-Wno-microsoft-anon-tag",  # as the kernel itself since 6.19
        ])  # fmt: skip
        if SHAPES:
            bpf["kp_rows"].open_ring_buffer(on_row)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, stop)
        for function, symbol, offset, is_return in PROGRAMS:
            if is_return:
                bpf.attach_kretprobe(event=symbol, fn_name=function, maxactive=MAXACTIVE)
            else:
                bpf.attach_kprobe(event=symbol, event_off=offset, fn_name=function)
        if SHAPES:
            names = [field[0] for field in SHAPES[0]] if len(SHAPES) == 1 else []
            fixed = ["#time", "cpu", "pid", "tid", "comm"] + ["probe"] * (len(PLACES) > 1)
            print(*fixed, *names, sep="\t", flush=True)
        watch(bpf, command, group)
        for function, symbol, _, is_return in reversed(PROGRAMS):
            if is_return:
                bpf.detach_kretprobe(event=symbol, fn_name=function)
            else:
                bpf.detach_kprobe(event=symbol, fn_name=function)
        if SHAPES:
            bpf.ring_buffer_consume()
        for table in TABLES:
            print_table(bpf, table)
        print_sums(bpf)
    finally:
        if group:
            os.rmdir(group)


main(sys.argv[1:])
