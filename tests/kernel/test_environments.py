# SPDX-License-Identifier: MIT
"""Kernels and hosts on which something is missing: each says so, and none gives an empty table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import kpmagic
from kpmagic import cache
from kpmagic.channel.connection import Connection
from kpmagic.errors import AttachError, KpmagicError, MissingDependency, NotPermitted, TargetError
from kpmagic.kp import doctor_kernel
from kpmagic.targets import acceleration, qemu
from kpmagic.targets.sandbox import Sandbox

FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"

GETSID = "exec /usr/bin/python3 -I -S -c 'import os\nos.getsid(0)'"
PATIENCE = 30.0


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


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


def told(error: type[KpmagicError], words: str, act: Callable[[], object]) -> str:
    """Return what is said, within 2 s: at a second look where others are at work."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(error, match=words) as caught:
            act()
        took.append(time.monotonic() - began)
        if took[-1] < 2:
            return str(caught.value)
    raise AssertionError(f"told after {min(took):.1f} s")


def test_a_kernel_that_lets_nobody_read_its_memory(fetched_kernel: str) -> None:
    with booted(fetched_kernel, "lockdown=confidentiality") as connection:
        said = told(NotPermitted, "locked down", lambda: forks(connection))
        assert "lockdown=integrity" in said
        found = {each.name: each for each in doctor_kernel.findings(connection)}
        assert found["lockdown"].ok is False


def test_the_weaker_lockdown_lets_probes_be(fetched_kernel: str) -> None:
    with booted(fetched_kernel, "lockdown=integrity") as connection:
        run = forks(connection)
        assert (run.stats.hits, len(run.df())) == (23, 23)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [("lockdown=integrity", "locked down"), ("module.sig_enforce=1", "signed modules only")],
)
def test_a_kernel_that_takes_signed_modules_only(
    fetched_kernel: str, parameter: str, words: str
) -> None:
    """It is told before anything is built: what is here would not build."""
    with booted(fetched_kernel, parameter) as connection:
        connection.facts()
        said = told(NotPermitted, words, lambda: kpmagic.module("m", "no C", target=connection))
        assert "--backend bpf" in said
        told(
            NotPermitted,
            words,
            lambda: kpmagic.probe(
                "vfs_read", "emit(nothing);", target=connection, backend="kmod", duration="1s"
            ),
        )
        assert not [line for line in connection.read("/proc/modules").decode().splitlines()
                    if line.startswith(("m ", "kpmagic_"))]  # fmt: skip
        assert forks(connection).stats.hits == 23


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
        assert "on again: " in told(KpmagicError, "switched off", lambda: forks(spoiled))
    finally:
        assert spoiled.run(f"echo 1 >{switch}") == 0


@pytest.mark.parametrize(
    "switch", ["/sys/kernel/debug/kprobes/enabled", "/proc/sys/kernel/ftrace_enabled"]
)
def test_what_is_switched_off_while_a_probe_runs(spoiled: Connection, switch: str) -> None:
    """The agent's own probe is not hit any more, and then again."""
    with kpmagic.probe("__x64_sys_getsid", "count();", target=spoiled) as run:
        assert run.info["canary"] is True
        assert run.remarks == []
        for value, said in ((0, "the probe is not hit"), (1, "probes fire again")):
            assert spoiled.run(f"echo {value} >{switch}") == 0
            wait_until(lambda said=said: any(said in each for each in run.remarks))
            assert spoiled.run(GETSID) == 0
    assert run.stats.hits == 1
    assert sum(switch in each or "ftrace_enabled=1" in each for each in run.remarks) == 1
    assert "the probe is not hit" in str(run)


def test_a_switch_that_cannot_be_seen(spoiled: Connection) -> None:
    """Only a real hit finds out."""
    hide = "mount -t debugfs debugfs /mnt; echo 0 >/mnt/kprobes/enabled; "
    assert spoiled.run(hide + "mount -t tmpfs nothing /sys/kernel/debug") == 0
    try:
        with pytest.raises(AttachError, match="do not fire"):
            forks(spoiled)
    finally:
        shown = "umount /sys/kernel/debug; echo 1 >/mnt/kprobes/enabled; umount /mnt"
        assert spoiled.run(shown) == 0
    assert forks(spoiled).stats.hits == 23
    assert spoiled.read("/sys/kernel/debug/kprobes/list") == b""


def test_no_debugfs(spoiled: Connection) -> None:
    assert spoiled.run("umount /sys/kernel/debug") == 0
    try:
        assert "mount -t debugfs" in told(TargetError, "debugfs is not mounted",
                                          spoiled.check_kernel)  # fmt: skip
    finally:
        assert spoiled.run("mount -t debugfs debugfs /sys/kernel/debug") == 0


def test_no_qemu(fetched_kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kpmagic.targets.commands.SYSTEM", ())
    said = told(MissingDependency, "qemu-system-x86_64",
                lambda: kpmagic.connect("sandbox", kernel=fetched_kernel))  # fmt: skip
    assert "apt-get install qemu-system-x86" in said


def test_another_architecture(fetched_kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    said = told(TargetError, "this machine is aarch64",
                lambda: kpmagic.connect("sandbox", kernel=fetched_kernel))  # fmt: skip
    assert "ssh://" in said


@contextmanager
def other_types(connection: Connection, spoil: str) -> Iterator[None]:
    """The kernel's types are what ``spoil`` makes of them, and nobody else knows them."""
    assert isinstance(connection.target, Sandbox)
    kernel, facts = connection.target.kernel, connection._facts
    connection.target.kernel, connection._facts = replace(kernel, btf=None), None
    assert connection.run(spoil) == 0
    try:
        yield
    finally:
        connection.target.kernel, connection._facts = kernel, facts
        assert connection.run("umount /sys/kernel/btf") == 0


def test_a_kernel_without_types(
    spoiled: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    with other_types(spoiled, "mount -t tmpfs none /sys/kernel/btf"):
        said = told(TargetError, "does not describe its types", lambda: forks(spoiled))
        assert "CONFIG_DEBUG_INFO_BTF" in said


def test_a_kernel_with_types_that_are_none(
    spoiled: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    damage = "mount -t tmpfs none /sys/kernel/btf; echo none >/sys/kernel/btf/vmlinux"
    with other_types(spoiled, damage):
        assert "hint: " in told(TargetError, "BTF", lambda: forks(spoiled))


def test_kvm_that_is_broken(
    fetched_kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, and cannot run a kernel: emulated instead, and not tried a second time."""
    kernels = cache.directory("kernels")
    (tmp_path / "kernels").symlink_to(kernels)
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    monkeypatch.setattr(acceleration, "DEVICE", "/dev/zero")
    assert acceleration.may_use_kvm()
    with Connection(Sandbox(fetched_kernel, workdir=Path("/"), saved=False)) as connection:
        connection.wait_for_hello()
        assert isinstance(connection.target, Sandbox)
        assert connection.target.accelerator == "tcg"
    assert not acceleration.may_use_kvm()
