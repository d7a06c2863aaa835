# SPDX-License-Identifier: MIT
"""BCC in a process of its own, under the system's Python: started by the agent, ends with it.

Not imported by the agent, which hands it over as text. Descriptor 0 is a C source, 3 the socket
that tells when to end, 4 the settings (peer.py). What it prints is a line of JSON each:

    {"type": "row", "event": name, "time": ns since 1970, "data": {column: value}}
    {"type": "table", "name": …, "keys": [names], "columns": [names], "rows": [[…], …]}
    {"type": "lost_events", "data": {"events": n}}

What BCC and clang have to say goes to descriptor 2, where C code writes it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import sys
import time
import zlib
from typing import Any

MISSING, OLD, BROKEN, FAILED = 42, 43, 44, 1  # exit codes
OLDEST = (0, 18)  # event() and lost_cb as they are used here
POLL_MS = 50
KERNEL = "/mnt"  # in a mount namespace of this process alone

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18

# what BCC includes of the kernel's headers, and sources of it, besides what the types say
VERSION = """#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(%s)
"""
FIRST = """#pragma once
#define CONFIG_BPF_SYSCALL 1
#define _UAPI__LINUX_BPF_H__
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"
%s
#ifndef NULL
#define NULL ((void *)0)
#endif
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define roundup_pow_of_two(n) ((n) < 2 ? 1UL : 1UL << (64 - __builtin_clzl((n) - 1)))
#define TASK_COMM_LEN 16
#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif
#define container_of(pointer, type, member) \\
\t((type *)((void *)(pointer) - __builtin_offsetof(type, member)))
"""
ALWAYS = ("uapi/linux/bpf.h", "uapi/linux/if_packet.h", "uapi/linux/if_ether.h",
          "uapi/linux/ptrace.h", "linux/log2.h", "linux/types.h", "linux/bpf_common.h",
          "asm/page.h", "generated/autoconf.h")  # fmt: skip
# in BCC's helpers.h, and newer than some kernels whose types do not name them; in the order of
# their numbers, which are the kernel's ABI: enum bpf_func_id of uapi/linux/bpf.h
FIRST_FUNCTION = 139
FUNCTIONS = """
skc_to_tcp_request_sock skc_to_udp6_sock get_task_stack load_hdr_opt store_hdr_opt
reserve_hdr_opt inode_storage_get inode_storage_delete d_path copy_from_user snprintf_btf
seq_printf_btf skb_cgroup_classid redirect_neigh per_cpu_ptr this_cpu_ptr redirect_peer
task_storage_get task_storage_delete get_current_task_btf bprm_opts_set ktime_get_coarse_ns
ima_inode_hash sock_from_file check_mtu for_each_map_elem snprintf sys_bpf btf_find_by_name_kind
sys_close timer_init timer_set_callback timer_start timer_cancel get_func_ip get_attach_cookie
task_pt_regs get_branch_snapshot trace_vprintk skc_to_unix_sock kallsyms_lookup_name find_vma
loop strncmp get_func_arg get_func_ret get_func_arg_cnt get_retval set_retval xdp_get_buff_len
xdp_load_bytes xdp_store_bytes copy_from_user_task skb_set_tstamp ima_file_hash kptr_xchg
map_lookup_percpu_elem skc_to_mptcp_sock dynptr_from_mem ringbuf_reserve_dynptr
ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_read dynptr_write dynptr_data
tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
tcp_raw_check_syncookie_ipv6 ktime_get_tai_ns user_ringbuf_drain cgrp_storage_get
cgrp_storage_delete
"""
# since Linux 6.19 the kernel's headers have members that are a tagged struct without a name
CFLAGS = ["-fms-extensions", "-Wno-microsoft-anon-tag"]
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([\w/.-]+\.h)>", re.M)


def main() -> None:
    """Compile, attach, tell what comes until the socket ends, then the maps."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        return
    settings = json.loads(read_all(4))
    source = read_all(0).decode("utf-8", "surrogateescape")
    prepare_kernel(settings, source)
    bcc = import_bcc()
    trace = open_trace() if settings["trace"] else -1
    try:
        program = bcc.BPF(text=source.encode("utf-8", "surrogateescape"),
                          cflags=[*CFLAGS, *settings["cflags"]])  # fmt: skip
        attach(program, settings["attach"])
        work = Script(program, settings, trace) if settings["script"] else None
    except Exception as error:
        fail(str(error))
    os.write(3, b"attached\n")
    while not ended(0 if work is not None and work.poll() else POLL_MS):
        pass
    if work is not None:
        work.tables()
    sys.stdout.flush()
    os._exit(0)  # the kernel takes the probes out


def read_all(fd: int) -> bytes:
    """Return all of a file."""
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def fail(words: str, code: int = FAILED) -> None:
    """Say why, and end."""
    sys.stderr.write(f"kpmagic: {words}\n")
    sys.stderr.flush()
    os._exit(code)


def import_bcc() -> Any:
    """Return the module. Ends this process where there is none."""
    try:
        import bcc  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        fail(str(error), MISSING if error.name == "bcc" else BROKEN)
    except Exception as error:  # of its library, as the dynamic linker says it
        fail(str(error), BROKEN)
    found = re.findall(r"\d+", str(getattr(bcc, "__version__", "")))
    if found and tuple(map(int, found[:2])) < OLDEST:
        fail(str(bcc.__version__), OLD)
    return bcc


def ended(timeout: int) -> bool:
    """Wait for the socket's end for ``timeout`` ms; say whether it has come."""
    poll = select.poll()
    poll.register(3, select.POLLIN)
    return bool(poll.poll(timeout))


def prepare_kernel(settings: dict[str, Any], source: str) -> None:
    """Have BCC find kernel headers: the machine's, or the kernel's own types in place of them."""
    release = os.uname().release
    here = f"/lib/modules/{release}/build/include/linux/kconfig.h"
    if os.path.exists(here) and not settings["types_only"]:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) \
            or libc.mount(b"kpmagic", KERNEL.encode(), b"tmpfs", 0, b"mode=0700"):  # fmt: skip
        fail(f"a file system for the kernel's types: {os.strerror(ctypes.get_errno())}")
    types = zlib.decompress(bytes.fromhex(settings["types"])).decode()
    numbers = ", ".join([*re.findall(r"\d+", release), "0", "0"][:3])
    more = [f"#define BPF_FUNC_{name} {number}"
            for number, name in enumerate(FUNCTIONS.split(), FIRST_FUNCTION)
            if f"BPF_FUNC_{name} " not in types]  # fmt: skip
    put("vmlinux.h", types)
    put("linux/version.h", VERSION % numbers)
    put("linux/kconfig.h", FIRST % "\n".join(more))
    for name in (*ALWAYS, *INCLUDE.findall(source)):
        if name not in ("linux/version.h", "linux/kconfig.h", "vmlinux.h"):
            put(name, "")
    os.environ["BCC_KERNEL_SOURCE"] = KERNEL


def put(name: str, text: str) -> None:
    """Write a header."""
    path = os.path.normpath(f"{KERNEL}/include/{name}")
    if path.startswith(f"{KERNEL}/"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def attach(program: Any, places: list[dict[str, Any]]) -> None:
    """Plant the functions of the source."""
    for place in places:
        event = place["symbol"].encode()
        name = place["function"].encode()
        try:
            if place["return"]:
                program.attach_kretprobe(event=event, fn_name=name)
            else:
                program.attach_kprobe(event=event, event_off=place["offset"], fn_name=name)
        except Exception:
            if not place.get("optional"):
                raise


class Script:
    """What a cell in BCC's own dialect shows: events, lines of the trace, its tables."""

    def __init__(self, program: Any, settings: dict[str, Any], trace: int) -> None:
        self.program = program
        self.names = settings["tables"]  # those of the source; a table's kind is not told by BCC
        self.rings = self.perf = False
        self.trace = trace
        self.piece = b""
        for name, kind in self.names.items():
            if kind == "perf":
                self.perf = True
                program[name.encode()].open_perf_buffer(self.on_perf(name), page_cnt=64,
                                                        lost_cb=self.on_lost)  # fmt: skip
            elif kind == "ring":
                self.rings = True
                program[name.encode()].open_ring_buffer(self.on_ring(name))

    def on_perf(self, name: str) -> Any:
        """Return what is called with each event of a perf buffer."""
        table = self.program[name.encode()]
        return lambda cpu, data, size: self.row(name, {"cpu": cpu, **fields(table.event(data))})

    def on_ring(self, name: str) -> Any:
        """Return what is called with each event of a ring buffer."""
        table = self.program[name.encode()]
        return lambda context, data, size: self.row(name, fields(table.event(data)))

    def on_lost(self, count: int) -> None:
        """Tell of events that the perf buffer had no room for."""
        say({"type": "lost_events", "data": {"events": count}})

    def row(self, name: str, data: dict[str, Any]) -> None:
        """Tell an event."""
        say({"type": "row", "event": name, "time": time.time_ns(), "data": data})

    def poll(self) -> bool:
        """Tell what has come; say whether it has waited."""
        if self.trace >= 0:
            self.read_trace()
        if self.perf:
            self.program.perf_buffer_poll(timeout=POLL_MS)
        if self.rings:
            self.program.ring_buffer_poll(timeout=0 if self.perf else POLL_MS)
        sys.stdout.flush()
        return self.perf or self.rings

    def read_trace(self) -> None:
        """Tell the lines of bpf_trace_printk: Documentation/trace/ftrace.rst has their form."""
        while True:
            try:
                data = os.read(self.trace, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self.piece = (self.piece + data).split(b"\n")
            for line in lines:
                self.trace_line(line.decode("utf-8", "replace"))

    def trace_line(self, line: str) -> None:
        """Tell one line."""
        match = LINE.match(line)
        if match is not None:
            self.row("trace_printk", {"cpu": int(match[3]), "pid": int(match[2]),
                                      "comm": match[1].strip(), "text": match[4]})  # fmt: skip

    def tables(self) -> None:
        """Tell what each table holds now."""
        self.poll()
        for name, kind in self.names.items():
            if kind in ("hash", "log2", "linear"):
                say({"type": "table", "name": name, "kind": kind, **self.table(name)})
            elif kind == "stack":
                say({"type": "table", "name": name, "kind": kind, **self.stacks(name)})

    def table(self, name: str) -> dict[str, Any]:
        """Return keys, columns and rows of a table."""
        table = self.program[name.encode()]
        keys: list[str] = []
        columns: list[str] = []
        rows = []
        for key, leaf in table.items():
            key_fields, leaf_fields = fields(key, "key"), fields(summed(leaf), "value")
            keys, columns = list(key_fields), list(leaf_fields)
            rows.append([*key_fields.values(), *leaf_fields.values()])
        return {"keys": keys, "columns": columns, "rows": rows}

    def stacks(self, name: str) -> dict[str, Any]:
        """Return id → stack, the outermost function first."""
        table = self.program[name.encode()]
        rows = []
        for key in list(table.keys()):
            walked = [self.program.ksym(at).decode("utf-8", "replace") for at in table.walk(key)]
            rows.append([key.value, ";".join(reversed(walked))])
        return {"keys": ["id"], "columns": ["stack"], "rows": rows}


# "           <...>-123     [001] d..31  1234.567890: bpf_trace_printk: text"
LINE = re.compile(r"\s*(.*)-(\d+)\s+(?:\([\s\d-]+\)\s+)?\[(\d+)\]\s+\S+\s+[\d.]+: "
                  r"(?:bpf_trace_printk|0x\w+): (.*)")  # fmt: skip


def open_trace() -> int:
    """Return a descriptor of the trace; the lines that others have left in it are read away."""
    for folder in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        try:
            fd = os.open(f"{folder}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            while os.read(fd, 1 << 16):
                pass
        except BlockingIOError:
            pass
        return fd
    return -1


def say(message: dict[str, Any]) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps(message) + "\n")


def summed(leaf: Any) -> Any:
    """Return a leaf; that of a table with one for each CPU as their sum, if they are numbers."""
    if isinstance(leaf, list):
        return sum(plain(each) for each in leaf)
    return leaf


def fields(value: Any, name: str = "value") -> dict[str, Any]:
    """Return the members of a struct by name, anything else under ``name``."""
    if isinstance(value, ctypes.Structure):
        found = {}
        for member, *_ in value._fields_:
            if not member.startswith("__pad"):
                found[member] = plain(getattr(value, member))
        return found
    return {name: plain(value)}


def plain(value: Any) -> Any:
    """Return a ctypes value as JSON has it; bytes are text up to a NUL."""
    if isinstance(value, bytes):
        return value.split(b"\0")[0].decode("utf-8", "backslashreplace")
    if isinstance(value, ctypes.Array):
        return plain(value.value) if hasattr(value, "value") else [plain(each) for each in value]
    if isinstance(value, (ctypes.Structure, ctypes.Union)):
        return {member: plain(getattr(value, member)) for member, *_ in value._fields_}
    if hasattr(value, "value"):
        return value.value
    return value


if __name__ == "__main__":
    main()
