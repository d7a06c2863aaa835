# SPDX-License-Identifier: MIT
"""The words between notebook and agent: one stream of frames each way, no I/O here.

A frame is a 12-byte header, ``<B3xII``: type, run number, payload length; then the payload.
The run number is chosen by the notebook and is 0 for what belongs to no run.

Notebook → agent

    REQUEST  u32 n, n bytes of JSON ``{"id": …, "do": WORD, …}``, then a blob (often empty)

Agent → notebook

    HELLO    JSON, once, first: {"protocol", "release", "machine", "cpus", "pid", "boot_id",
             "libbpf", "realtime_minus_monotonic"}; the last in ns, so that a record's
             ``ts`` (CLOCK_MONOTONIC) plus it is wall-clock time. That of targets/replay.py,
             which is no agent of a kernel, has "no_kernel" (why nothing can be asked), and
             "rows": "arrow": its DATA are Arrow IPC streams
    REPLY    like REQUEST: JSON ``{"id": …, "ok": {…}}`` or ``{"id": …, "error": {"kind", "message",
             "errno", "log", "program"}}``, then a blob
    DATA     bytes of the kernel's ring buffer as they lie there, whole records only: each is
             RING_HEADER (8 bytes) and a record of one fixed size per run
    LOST     JSON of COUNTERS summed over CPUs, at most 4 a second and only when changed; "lost"
             is what the user must know, hence the name. Where the kernel tells, also "missed",
             hits so far that never reached a program, and what handlers cost: "runs" of them
             all, the time "busy_ns" they took, and that since the gate was opened, "elapsed_ns"
    LOG      JSON {"stream": "stdout"|"stderr"|"agent", "text"}: output of a workload, or a remark;
             of a module's run also "kernel": raw records of /dev/kmsg, one behind the other;
             "planted": the "mechanism" of ``start``, when it has become another
    MAPS     JSON, before the DATA whose user stacks need it: {"events": [["map", ns, pid, start,
             size, offset, file's number] | ["fork", ns, pid, parent] | ["exec", ns, pid]],
             "files": [[number, path, identity]], those new in this frame, "lost": events that
             did not fit so far}. ns is CLOCK_MONOTONIC, start an address, offset that in the
             file; identity is a build id in hexadecimal, or "SIZE-MTIME_NS", or ""
    END      JSON: the last frame of a run: {"reason", "counters" (as in LOST), "in_flight",
             "missed", "missed_by" (the same by reason: "probe" another one was being handled on
             that CPU, "return" no room to remember a call, "program" a BPF program ran there),
             "mechanism" (as in the reply to ``start``),
             "workload": {"exit_code"} or null, "error": null or text, of a recording also
             "last_words": what its kernel's console said as it died}, then as blob the
             aggregates (see AGGREGATES), so it has REQUEST's form

Words a REQUEST may ``do`` (arguments → ok)

    ping       lease_ms (int, may be absent or 0: none) → {}; without a word from the notebook
               for that long the agent takes everything down and exits
    clean      → {"removed": [texts], "kept": [texts]}: undoes what agents that were killed have
               left, and says what did not let itself be undone, and why
    staying    → {"modules": [[name, why]]}: those that nobody needs any more and that are loaded
    taken      name → {"why": why no module can be loaded under it, or ""}
    read       path, size (bytes at most; null or absent: all) → {"size"}; blob: the file.
               error kind "os"
    start      the run is the frame's; blob: a BPF object. Loads, spawns the workload held back,
               attaches everything, opens the gate, lets the workload go. Arguments:
               programs  [{"program": name in the object, "symbol": str or null, "address": int
                         or null, "offset": int, "return": bool}], attached in this order;
                         a program may stand at several places. May also have: "cookie" (int,
                         what the program learns of its place), "exact" (bool: at the address,
                         the symbol is only said), "optional" (bool: the kernel may refuse it),
                         "multi" (bool: all such places of a program are attached at once),
                         "fentry" (bool: its section says where a trampoline is to call it)
               config    {"max_rows", "pid", "cpu", "sample", "comm"}: see CONFIG
               record    size of one record in bytes, without its RING_HEADER
               buffer    size of the ring buffer in bytes (power of two, multiple of a page)
               follow    bool: count only what the workload's cgroup caused
               command   null or shell text; the run ends when it exits ("while")
               cwd       directory of the command, or null
               max_ns    null or int; the run ends after it ("max-time")
               for_ns    null or int; the run ends after it ("for")
               max_ppm   null or int: millionths of one CPU that the handlers may take; over it
                         only some hits are recorded, at last none ("max-overhead")
               entries   null, or name of the map of calls that have begun (return probes)
               aggregates [names of maps], read at the end and on request
               mappings  bool: tell where the code of processes lies (MAPS)
               module    null, or the name built into the blob, which then is a kernel module
                         that plants the programs itself (bpf/frame.kmod.h); the agent gives it
                         another of the same length
               injection null, or {"times", "chance"}: parameters of a module that injects
               bcc       bool: the blob is no object but JSON with C for BCC ("source", "types",
                         "cflags", see agent/bcc.py), and the "maps" the agent makes for it
               key_sizes with a module: bytes of a key of each of "aggregates"
               mechanism null, or how they must be planted: "ftrace", "jump", "int3". For a jump
                         the answer waits for the kernel's optimiser; the switch of that is moved
                         where it stands in the way, and put back when the run ends
             → {"attached": [{"program", "address"}], "left_out": [{"symbol", "message"}],
                "ways" (a BPF object's: "kprobe", "kretprobe.multi", …),
                "mechanism" (how they are planted: "ftrace", "jump", "int3"; null: not known),
                "canary" (true: a probe of the agent's own was hit; null: it can have none),
                "load_ns", "attach_ns"};
             on error nothing is left. error kinds: "verifier" (log: the kernel's), "load",
             "attach" (errno, program), "spawn", "permission", "os"
    insmod     the run is the frame's; blob: a kernel module's file. Loads it; it is removed when
               the run ends, and the kernel's log from then on arrives as LOG frames. Arguments:
               name, parameters ("a=1 b=2"); command, cwd, max_ns, for_ns as of ``start``;
               expendable (bool): end the machine when a handler of the module has slept
             → {"size": bytes in the kernel, "load_ns"}. error kinds: "module" (errno: what the
               kernel or the module's init returned; log: records it logged), "spawn",
               "permission", "os". END has no counters
    peer       the run is the frame's; blob: a script for another tracer of the target, which is
               started with it. Its output arrives as DATA frames of whatever it prints, its
               error output as LOG frames ("tool"). Arguments: tool ("bpftrace", "bcc"; bcc also
               has settings, see agent/bcc.py); command, cwd, max_ns, for_ns as of ``start``
             → {"start_ns"} when its probes are there. error kinds: "missing" (message: the
               program), "tool" (errno: its exit code; log: its error output), "spawn", "os".
               END has no counters; its reason is "exit" when the tracer ended by itself
    stop       reason ("user", "interrupt", …) → {}; ends the run: gate shut, detached, drained,
             DATA…, END (of many probes the last may leave after it). A workload still running
             is killed with its descendants
    aggregates → {"maps": AGGREGATES' index}; blob: the maps' bytes
    planted    → {"places": [{"program", "place", "address", "before" (hex: the code there before
               any probe; empty: not known), "at" (the kernel may have moved it behind an
               endbr64), "mechanism" (as in ``start``, of this place)}]}
    code       at [{"address", "size"}] → {"sizes"}; blob: the kernel's code there as it is now,
               one piece behind the other; a piece is short where there is none
    run        command, cwd → {"exit_code"} when it has ended; its output arrives as LOG
             frames of the request's run number
    kill       the command of that run number, with its descendants → {}
    log        → {"lines": […]}: the kernel's log (dmesg), raw /dev/kmsg records

AGGREGATES: the index is [{"map", "key_size", "entries"}] in the blob's order; a map's bytes are
``entries`` times its key (key_size bytes, a multiple of 8) and for each of HELLO's ``cpus`` CPUs
``u64 n; s64 v``. In END the index is the message's "maps".

Reasons in END: "while", "for", "max-events", "max-time", "user", "interrupt", "error", or what
``stop`` gave. After the notebook's side closes, or the parent dies, the agent takes down all
runs and workloads and exits.

The rules of a connection: HELLO first; a run's frames only between its ``start`` and its END;
REPLY to ``start`` before the run's first DATA; an END for every started run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

PROTOCOL = 1

# What the agent of a sandbox prints on the console when it waits for its port; before its HELLO
# that port carries the lines of waking.py
PREPARED = "kpmagic: prepared"

REQUEST, HELLO, REPLY, DATA, LOST, LOG, END, MAPS = range(1, 9)
NAMES = {REQUEST: "REQUEST", HELLO: "HELLO", REPLY: "REPLY", DATA: "DATA", LOST: "LOST",
         LOG: "LOG", END: "END", MAPS: "MAPS"}  # fmt: skip

HEADER = struct.Struct("<B3xII")
LENGTH = struct.Struct("<I")
MAX_PAYLOAD = 256 << 20

# linux/kernel/bpf/ringbuf.c: struct bpf_ringbuf_hdr; records are rounded up to 8 bytes
RING_HEADER = 8
RING_BUSY = 1 << 31
RING_DISCARD = 1 << 30

# struct kp_config of bpf/record.h, alone in the object's section (and map) ".rodata.kp",
# set before loading:
# cgroup (0: any), agent's tgid, pid (0: any), cpu (-1: any), sample (1: all), comm (empty: any),
# which of them are looked at
CONFIG = struct.Struct("<QIIiI16sI4x")
FILTERED, SAMPLED, EASED = 1, 2, 4

# struct kp_cpu of bpf/record.h, one per possible CPU, in the object's section (and map)
# ".data.kp" after struct kp_gate {u64 until, rows, one_in} padded to GATE_SIZE; each is padded to
# CPU_SIZE bytes so that CPUs do not share cache lines
COUNTERS = ("hits", "rows", "filtered", "sampled", "dropped", "entries", "unpaired", "injected")
GATE_SIZE = 128
CPU_SIZE = 128


class Frame(NamedTuple):
    """One frame: ``type``, ``run`` and ``payload``."""

    type: int
    run: int
    payload: bytes


class WireError(Exception):
    """The bytes are not this protocol's."""


def header(type_: int, run: int, length: int) -> bytes:
    """Return the header of a frame, to be followed by ``length`` bytes."""
    return HEADER.pack(type_, run, length)


def encode(type_: int, run: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return header(type_, run, len(payload)) + payload


def pack_json(message: dict[str, Any]) -> bytes:
    """Return the payload of a HELLO, LOST or LOG frame."""
    return json.dumps(message, separators=(",", ":")).encode()


def pack(message: dict[str, Any], blob: bytes | memoryview = b"") -> bytes:
    """Return the payload of a REQUEST, REPLY or END frame: JSON with a blob behind it."""
    text = pack_json(message)
    return b"".join((LENGTH.pack(len(text)), text, blob))


def unpack_json(payload: bytes) -> dict[str, Any]:
    """Return the message of a HELLO, LOST or LOG frame. Raises WireError."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def unpack(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Return message and blob of a REQUEST, REPLY or END frame. Raises WireError."""
    if len(payload) < LENGTH.size:
        raise WireError("payload too short")
    (length,) = LENGTH.unpack_from(payload)
    end = LENGTH.size + length
    if end > len(payload):
        raise WireError("JSON longer than its payload")
    return unpack_json(payload[LENGTH.size : end]), payload[end:]


class Reader:
    """Turns bytes, cut anywhere, into frames."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[Frame]:
        """Take ``data``; yield every frame that is complete. Raises WireError."""
        self._pieces += data
        while len(self._pieces) >= HEADER.size:
            type_, run, length = HEADER.unpack_from(self._pieces)
            if type_ not in NAMES or length > MAX_PAYLOAD:
                raise WireError(f"no frame begins like this: type {type_}, {length} bytes")
            end = HEADER.size + length
            if len(self._pieces) < end:
                return
            payload = bytes(memoryview(self._pieces)[HEADER.size : end])
            del self._pieces[:end]
            yield Frame(type_, run, payload)
