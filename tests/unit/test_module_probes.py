# SPDX-License-Identifier: MIT
"""The agent's end of a module's device; the other, bpf/frame.kmod.h, is tested on kernels."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kpmagic.agent import gate, kmodprobes, wire
from kpmagic.agent.kmodprobes import GATE_OFFSET, ModuleProbes
from kpmagic.backends.handlers import cpus_of

Make = Callable[[int], ModuleProbes]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the probes of a module with one place, on a machine of so many CPUs."""
    device = os.memfd_create("device")
    program = SimpleNamespace(cookie=0, is_return=False)
    asked: Any = SimpleNamespace(programs=[program], buffer=4096, record=64)
    nothing: Any = lambda *_: None  # noqa: E731
    monkeypatch.setattr(kmodprobes, "Kmsg", lambda: SimpleNamespace(close=nothing))
    monkeypatch.setattr(ModuleProbes, "_insert", nothing)
    monkeypatch.setattr(ModuleProbes, "_open", lambda _: device)
    monkeypatch.setattr(kmodprobes.fcntl, "ioctl", nothing)
    monkeypatch.setattr(kmodprobes, "config", nothing)
    monkeypatch.setattr(kmodprobes, "Ring", nothing)

    def made(cpus: int) -> ModuleProbes:
        plan: Any = SimpleNamespace(cpus=cpus)
        shared = wire.GATE_SIZE + cpus_of(plan) * wire.CPU_SIZE  # struct kp_shared

        def kp_mmap(fd: int, size: int, *, offset: int) -> mmap.mmap:
            if (fd, size, offset) != (device, -(-shared // 4096) * 4096, GATE_OFFSET):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return mmap.mmap(-1, size)

        fake = SimpleNamespace(mmap=kp_mmap, PAGESIZE=4096)
        monkeypatch.setattr(gate, "mmap", fake)
        monkeypatch.setattr(kmodprobes, "possible_cpus", lambda: cpus)
        return ModuleProbes(asked, 0, 1)

    yield made
    os.close(device)


@pytest.mark.parametrize("cpus", [1, 2, 3, 16, 17, 31, 32, 33, 63, 64, 65, 240])
def test_counters_of_any_number_of_cpus_are_mapped(make: Make, cpus: int) -> None:
    probes = make(cpus)
    probes.gate._words[gate.FIRST + (cpus - 1) * gate.STEP + gate.ROWS] = 5
    assert probes.gate.rows == 5


def test_what_was_missed_before_the_gate_was_opened_is_not_the_runs(make: Make) -> None:
    probes = make(2)

    def missed(count: int) -> None:
        os.pwrite(probes._fd, struct.pack("<Qi", count, 0), 0)
        os.lseek(probes._fd, 0, os.SEEK_SET)

    missed(7)
    probes.begin()
    missed(9)
    assert probes.missed() == {"probe": 2}
