# SPDX-License-Identifier: MIT
"""Kernels and hosts on which something is missing: each says so, and none gives an empty table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kpmagic
from kpmagic import doctor_kernel
from kpmagic.connection import Connection
from kpmagic.errors import KpmagicError, MissingDependency, NotPermitted, TargetError
from kpmagic.targets import qemu
from kpmagic.targets.sandbox import Sandbox

FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"


@contextmanager
def booted(version: str, *parameters: str) -> Iterator[Connection]:
    """A sandbox of its own, whose kernel is given more parameters."""
    with pytest.MonkeyPatch.context() as patch:
        for each in parameters:
            patch.setitem(qemu.PARAMETERS, each, "what is tested")
        connection = Connection(Sandbox(version, workdir=Path("/"), saved=not parameters))
    try:
        yield connection
    finally:
        connection.close()


def forks(connection: Connection) -> kpmagic.Run:
    return kpmagic.probe("kernel_clone", "emit(args->flags);", target=connection, command=FORKS,
                         follow=True)  # fmt: skip


def test_a_kernel_that_lets_nobody_read_its_memory(fetched_kernel: str) -> None:
    with booted(fetched_kernel, "lockdown=confidentiality") as connection:
        with pytest.raises(NotPermitted, match="locked down") as caught:
            forks(connection)
        assert "lockdown=integrity" in caught.value.hint
        found = {each.name: each for each in doctor_kernel.findings(connection)}
        assert found["lockdown"].ok is False


def test_the_weaker_lockdown_lets_probes_be(fetched_kernel: str) -> None:
    with booted(fetched_kernel, "lockdown=integrity") as connection:
        run = forks(connection)
        assert (run.stats.hits, len(run.df())) == (23, 23)


@pytest.fixture(scope="module")
def spoiled(fetched_kernel: str) -> Iterator[Connection]:
    """A sandbox that may be changed for good."""
    with booted(fetched_kernel) as connection:
        yield connection


def test_hidden_addresses(
    spoiled: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))  # they would be kept
    assert spoiled.run("echo 2 >/proc/sys/kernel/kptr_restrict") == 0
    run = forks(spoiled)
    assert (run.stats.hits, len(run.df())) == (23, 23)


@pytest.mark.parametrize(
    "switch", ["/sys/kernel/debug/kprobes/enabled", "/proc/sys/kernel/ftrace_enabled"]
)
def test_what_is_switched_off(spoiled: Connection, switch: str) -> None:
    assert spoiled.run(f"echo 0 >{switch}") == 0
    try:
        with pytest.raises(KpmagicError, match="switched off"):
            forks(spoiled)
    finally:
        assert spoiled.run(f"echo 1 >{switch}") == 0


def test_no_debugfs(spoiled: Connection) -> None:
    assert spoiled.run("umount /sys/kernel/debug") == 0
    try:
        with pytest.raises(TargetError, match="debugfs is not mounted") as caught:
            spoiled.check_kernel()
        assert "mount -t debugfs" in caught.value.hint
    finally:
        assert spoiled.run("mount -t debugfs debugfs /sys/kernel/debug") == 0


def test_no_qemu(fetched_kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kpmagic.targets.commands.SYSTEM", ())
    with pytest.raises(MissingDependency, match="qemu-system-x86_64") as caught:
        kpmagic.connect("sandbox", kernel=fetched_kernel)
    assert "apt-get install qemu-system-x86" in caught.value.hint


def test_another_architecture(fetched_kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(TargetError, match="this machine is aarch64") as caught:
        kpmagic.connect("sandbox", kernel=fetched_kernel)
    assert "ssh://" in caught.value.hint
