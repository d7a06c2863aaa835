# SPDX-License-Identifier: MIT
"""The agent of a sandbox before it greets: prepared, perhaps saved and copied, then woken.

All that is the same in every sandbox is done before the line "kpmagic: prepared" on the console;
there the machine may be saved, and if so, has loaded what every run needs. The port to the notebook
is plugged in after that, in the original as in each copy. Then lines go to and fro, before the
first frame of wire.py:

    agent "clock"     → notebook: its wall clock in ns; again while the answer took too long
    agent "settings"  → notebook: JSON {"exports": [[kind, tag, path], …], "workdir": path,
                        "entropy": hexadecimal digits}
"""

from __future__ import annotations

import codecs
import fcntl
import importlib
import json
import os
import select
import struct
import time

from kpmagic.agent import loop, root, wire
from kpmagic.agent.channel import Channel, HangUp, open_channel
from kpmagic.agent.refusal import Refused

PORT = "kpmagic.agent"
PORTS = "/sys/class/virtio-ports"
POLL_SECONDS = 0.005
SAVED = "KPMAGIC_SAVED"  # the machine may be saved: see kpmagic/targets/qemu.py

CLOCK_TRIES = 5
CLOCK_GOOD_NS = 5_000_000

# include/uapi/linux/random.h; the second since Linux 4.14
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207


def wake() -> Channel:
    """Prepare, wait for the notebook, become a sandbox of its own; return the channel to it.

    Raises HangUp, root.Failed.
    """
    if os.environ.pop(SAVED, ""):
        prepare()
    _wait_for_root()
    print(wire.PREPARED, flush=True)
    channel = open_channel(_port())
    _set_clock(channel)
    settings = json.loads(_ask(channel, b"settings"))
    _reseed(bytes.fromhex(settings["entropy"]))
    _name_machine()
    root.enter(settings["exports"], settings["workdir"])
    return channel


def prepare() -> None:
    """Load what every sandbox needs.

    Nothing here may read random numbers, clock or boot id, nor anything below the root to come.
    """
    for name in loop.READY:
        importlib.import_module(name)
    codecs.lookup("ascii")
    from kpmagic.agent.libbpf import library

    try:
        library()
    except Refused:
        return  # the run that needs it will say so


def _wait_for_root() -> None:
    """Wait until the root is built: until then init holds our input open."""
    while os.read(0, 1 << 12):
        pass
    null = os.open(f"{root.IMAGE}/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _port() -> str:
    """Return the device of the port to the notebook, once it is there."""
    folder = root.IMAGE + PORTS
    while True:
        for name in os.listdir(folder):
            try:
                with open(f"{folder}/{name}/name", "rb") as file:
                    if file.read().strip() == PORT.encode():
                        return f"{root.IMAGE}/dev/{name}"
            except FileNotFoundError:
                continue  # the name comes last
        time.sleep(POLL_SECONDS)


def _ask(channel: Channel, word: bytes) -> bytes:
    """Send a line and return the line that answers it. Raises HangUp."""
    os.write(channel.sink, word + b"\n")
    poll = select.poll()
    poll.register(channel.source, select.POLLIN)
    answer = b""
    while not answer.endswith(b"\n"):
        poll.poll()
        piece = os.read(channel.source, 1 << 16)
        if not piece:
            raise HangUp("end of input")
        answer += piece
    return answer


def _set_clock(channel: Channel) -> None:
    """Set the wall clock to the notebook's, taken to be read in the middle of the exchange."""
    best = None
    for _ in range(CLOCK_TRIES):
        before = time.monotonic_ns()
        told = int(_ask(channel, b"clock"))
        took = time.monotonic_ns() - before
        if best is None or took < best[0]:
            best = (took, told - (before + took // 2))
        if took < CLOCK_GOOD_NS:
            break
    assert best is not None
    time.clock_settime_ns(time.CLOCK_REALTIME, time.monotonic_ns() + best[1])


def _reseed(entropy: bytes) -> None:
    """Give the kernel random numbers that no other copy of this machine has."""
    device = os.open(f"{root.IMAGE}/dev/urandom", os.O_WRONLY)
    try:
        # struct rand_pool_info: entropy in bits, size, bytes
        pool = struct.pack("ii", 8 * len(entropy), len(entropy)) + entropy
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    finally:
        os.close(device)


def _name_machine() -> None:
    """Write a new machine-id(5). The boot id is made when it is first read, which is later."""
    with open(f"{root.IMAGE}/etc/machine-id", "w", encoding="ascii") as file:
        file.write(f"{os.urandom(16).hex()}\n")
