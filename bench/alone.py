# SPDX-License-Identifier: MIT
"""What is measured of kpmagic alone: decoding, memory, the sandbox's start, card and panel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import resident
from figures import Figures
from machine import BUILT, CALLS, GUEST

import kpmagic
from kpmagic import layout
from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.model import Site, Spec
from kpmagic.record import CType
from kpmagic.rows.recording import Recording
from kpmagic.targets import initramfs, kernels, qemu
from kpmagic.targets.sandbox import Sandbox

BATCH = 1 << 20


def decoding(figures: Figures, turns: int, records: int = 2_000_000) -> None:
    """Records of 56 bytes, as they lie in the ring buffer, to a DataFrame; and a copy of them."""
    u64 = CType("int", 8, False, "u64")
    shape = layout.record(0, [("a", u64), ("b", u64)])
    size = layout.record_size((shape,))
    stride = size + wire.RING_HEADER
    words = np.zeros((records, stride // 8), np.uint64)
    words[:, 1] = np.arange(records)
    words[:, 4:6] = np.frombuffer(b"calls".ljust(16, b"\0"), np.uint64)
    words[:, 6] = words[:, 7] = np.arange(records)
    raw = words.tobytes()
    whole = BATCH // stride * stride
    for _ in range(turns):
        began = time.perf_counter()
        recording = Recording((shape,), (Site(Spec("f", "f"), "f", 0, 0, None),), size)
        for at in range(0, len(raw), whole):
            recording.feed(raw[at : at + whole])
        rows = len(recording.df())
        took = time.perf_counter() - began
        assert rows == records
        began = time.perf_counter()
        copied = bytearray(raw)
        copy = time.perf_counter() - began
        del copied
        figures.add(f"records of {size} bytes decoded, million a second", records / took / 1e6)
        figures.add("decoding / a copy of the bytes, times", took / copy)
    rate = figures.of(f"records of {size} bytes decoded, million a second")
    of_copy = figures.of("decoding / a copy of the bytes, times")
    best = max(rate / 20, 4 / of_copy)  # either will do
    figures.ratio("decode to DataFrame: of 20 million a second or a quarter of a copy", best, 1,
                  False, f"{rate:.1f} million a second, {of_copy:.1f} copies")  # fmt: skip


def memory(figures: Figures, sizes: list[int]) -> None:
    """Peak memory of a notebook's process over its rows, in memory and spooled to a file."""
    for how in ("spooled", "in memory"):
        for events in sizes:
            child = [sys.executable, __file__, how, str(events)]
            done = subprocess.run(child, capture_output=True, text=True, check=True)
            figures.add(f"peak memory, {how}, {events:,} events, MB", float(done.stdout) / 1e6)
    few, many = (figures.of(f"peak memory, spooled, {n:,} events, MB") for n in sizes[-2:])
    figures.ratio(f"peak memory spooled, {sizes[-1]:,} / {sizes[-2]:,} events", many / few, 1.10,
                  True, f"{many:.0f} MB to {few:.0f} MB")  # fmt: skip


def peak(how: str, events: int) -> None:
    """Be a notebook with so many rows; print the most memory it had."""
    vm = kpmagic.connect("sandbox")
    with tempfile.TemporaryDirectory() as folder:
        save = {"save": f"{folder}/run.parquet"} if how == "spooled" else {}
        run = kpmagic.probe("vfs_read", "emit(a = count, b = count, c = count);", target=vm,
                            command=f"{CALLS} {events}", max_events=1 << 40, follow=True, **save)
        assert run.stats.rows + (run.stats.dropped or 0) >= events
        if how != "spooled":
            run.df()
    vm.close()
    print(resident.most())


def starting(figures: Figures, turns: int, kernel: str = "6.1", bound: float = 1.25) -> None:
    """From connecting to the agent's hello, booted and copied; QEMU's start to a bare init."""
    found = kernels.find(kernel)
    first = bare_files()
    _started(found.version, True)  # the saved machine is there
    for _ in range(turns):
        figures.add("bare kernel: QEMU's start to init, s", bare_boot(found, first))
        figures.add("sandbox ready, booted, s", _started(found.version, False))
        figures.add("sandbox ready, copied, s", _started(found.version, True))
    bare, cold = (figures.of(f"{name}, s") for name in ("bare kernel: QEMU's start to init",
                                                        "sandbox ready, booted"))  # fmt: skip
    figures.ratio("sandbox ready, booted / bare kernel's boot", cold / bare, bound, True)
    figures.ratio("sandbox ready, copied / booted", figures.of("sandbox ready, copied, s") / cold,
                  1 / 4, True)  # fmt: skip


def _started(kernel: str, saved: bool) -> float:
    began = time.perf_counter()
    connection = Connection(Sandbox(kernel, saved=saved))
    connection.wait_for_hello()
    took = time.perf_counter() - began
    connection.close()
    return took


def bare_files() -> bytes:
    """Return an initramfs that holds a program which says that it runs, and no more."""
    program = BUILT / "init"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(GUEST / "init.c")], check=True)
    return initramfs.archive([initramfs.character_device("dev/console", 5, 1),
                              initramfs.file("init", program.read_bytes(), 0o755)])  # fmt: skip


def bare_boot(kernel: kernels.Kernel, files: bytes) -> float:
    """Boot the very machine of a sandbox with those files alone; return s until init has run."""
    with tempfile.TemporaryDirectory() as folder:
        console, ram, initrd = (Path(folder) / name for name in ("console", "ram", "initrd"))
        initrd.write_bytes(files)
        ram.touch()
        port, monitor = socket.socketpair(), socket.socketpair()
        with open(ram, "r+b") as memory, open(initrd, "rb") as first:
            machine = qemu.Machine(kernel.image, first.fileno(), port[1].fileno(),
                                   monitor[1].fileno(), memory.fileno(), console)  # fmt: skip
            fds = (first.fileno(), port[1].fileno(), monitor[1].fileno(), memory.fileno())
            command = [shutil.which("qemu-system-x86_64") or "", *qemu.command(machine)]
            began = time.perf_counter()
            with subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL) as process:
                while process.poll() is None:
                    if console.exists() and b"init runs" in console.read_bytes():
                        break
                    time.sleep(0.005)
                took = time.perf_counter() - began
                process.terminate()
        for each in (*port, *monitor):
            each.close()
    return took


def showing(figures: Figures, rows: int = 1_000_000) -> None:
    """What a card and a panel of a run with many rows cost, as a share of one processor."""
    from kpmagic.view.card import CARD
    from kpmagic.view.panel import html
    from kpmagic.view.panel_rows import row

    vm = kpmagic.connect("sandbox")
    run = kpmagic.probe("vfs_read", "emit(a = count, b = count);", target=vm, max_events=1 << 40,
                        command=f"{CALLS} {rows}")  # fmt: skip
    shown: dict[str, Callable[[], object]] = {
        "card": lambda: (CARD.text(run), CARD.html(run)),
        "panel": lambda: html([row(run)]),
    }
    for name, draw in shown.items():
        for _ in range(20):
            before = time.process_time()
            draw()
            share = (time.process_time() - before) * 4  # four times a second at most
            figures.add(f"{name} of a run with {rows:,} rows, % of one processor", 100 * share)
    vm.close()


if __name__ == "__main__":
    os.environ.setdefault("KPMAGIC_NONINTERACTIVE", "1")
    peak(sys.argv[1], int(sys.argv[2]))
