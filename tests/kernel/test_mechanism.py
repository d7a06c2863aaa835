# SPDX-License-Identifier: MIT
"""How the kernel plants probes, as run.info and the card say it: by ftrace, a jump, an int3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import kpmagic
from kpmagic.connection import Connection

INSIDE = "vfs_read+0x9"  # the beginning of an instruction on all four kernels
OPTIMISED = 15.0  # s after which the kernel's optimiser has surely run
BACKENDS = ("bpf", "kmod")


@contextmanager
def running(sandbox: Connection, place: str, backend: str, **options: Any) -> Iterator[kpmagic.Run]:
    with kpmagic.probe(place, "count();", target=sandbox, backend=backend, **options) as run:
        yield run


def wait_for(run: kpmagic.Run, how: str) -> None:
    end = time.monotonic() + OPTIMISED
    while run.info["mechanism"] != how and time.monotonic() < end:
        time.sleep(0.05)
    assert run.info["mechanism"] == how


def optimise(sandbox: Connection, on: bool) -> None:
    assert sandbox.run(f"echo {int(on)} > /proc/sys/debug/kprobes-optimization") == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_entry_ftrace_calls_it(sandbox: Connection, backend: str) -> None:
    with running(sandbox, "vfs_read", backend) as run:
        assert run.info["mechanism"] == "ftrace"
        assert "planted by ftrace" in str(run)
    assert run.info["mechanism"] == "ftrace"


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_it_is_an_int3_until_it_is_a_jump(sandbox: Connection, backend: str) -> None:
    optimise(sandbox, False)
    try:
        with running(sandbox, INSIDE, backend) as run:
            assert run.info["mechanism"] == "int3"
            assert "planted by int3" in str(run)
            optimise(sandbox, True)
            wait_for(run, "jump")
            assert "planted by jump" in str(run)
            optimise(sandbox, False)
            wait_for(run, "int3")
        assert run.info["mechanism"] == "int3"
    finally:
        optimise(sandbox, True)


def test_a_return_is_found_from_the_entry(sandbox: Connection) -> None:
    run = kpmagic.retprobe("vfs_read", "count();", target=sandbox, command="cat /dev/null")
    assert run.info["mechanism"] == "ftrace"


def test_many_together_are_functions_that_ftrace_calls(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read*", "count();", target=sandbox, command="cat /dev/null")
    assert run.info["mechanism"] == "ftrace"
    assert len(run.info["attached"]) > 1


def test_places_that_differ_are_all_said(sandbox: Connection) -> None:
    optimise(sandbox, False)
    try:
        run = kpmagic.probe(["vfs_read", INSIDE], "count();", target=sandbox, command="true",
                            backend="kmod")  # fmt: skip
        assert run.info["mechanism"] == "ftrace, int3"
    finally:
        optimise(sandbox, True)


def test_a_recording_says_it_too(sandbox: Connection, tmp_path: Any) -> None:
    run = kpmagic.probe("vfs_read", "emit(count);", target=sandbox, command="cat /dev/null")
    run.save(str(tmp_path / "one.parquet"))
    assert "planted by ftrace" in str(kpmagic.load(str(tmp_path / "one.parquet")))
