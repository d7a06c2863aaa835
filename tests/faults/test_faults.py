# SPDX-License-Identifier: MIT
"""Faults at random moments: rows are kept, the state is told, nothing is left, the next cell works.

A short form runs with the other tests; ``make soak`` runs many rounds (KPMAGIC_ROUNDS).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from far import FarMachine, use_ssh_of

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetLost
from kpmagic.targets.sandbox import Sandbox
from kpmagic.targets.ssh import Ssh

PATIENCE = 90.0
FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"
BUSY = "while :; do /bin/true; done"
TOLD_SECONDS, SSH_TOLD_SECONDS = 5.0, 15.0
Report = Callable[[str, object], None]
Hold = Callable[[float, float], None]

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(480)]

# a notebook that says how many rows it has, until it is killed
NOTEBOOK = """
import sys, time
import kpmagic
connection = kpmagic.connect("sandbox", kernel=sys.argv[1])
run = kpmagic.probe("kernel_clone", "emit(pid);", target=connection)
connection.ask("run", run=connection.new_number(), command=sys.argv[2])
while True:
    print(run.recording.rows, flush=True)
    time.sleep(0.05)
"""


def until(true: Callable[[], object], what: str) -> float:
    """Wait until it is; return how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < PATIENCE, what
        time.sleep(0.02)
    return time.monotonic() - began


def works(connection: Connection) -> None:
    """Probe, and count exactly."""
    run = kpmagic.probe("kernel_clone", "emit(args->flags);", target=connection, command=FORKS,
                        follow=True)  # fmt: skip
    assert (run.stats.hits, len(run.df())) == (23, 23)


class Victim:
    """A connection with a probe that has rows, and more coming."""

    def __init__(self, connection: Connection, moment: float) -> None:
        self.connection = connection
        self.run = kpmagic.probe("kernel_clone", "emit(pid);", target=connection)
        connection.ask("run", run=connection.new_number(), command=BUSY)
        until(lambda: self.run.recording.rows > 0, "no rows came")
        time.sleep(moment)
        self.rows = self.run.recording.rows

    def is_told_and_keeps_rows(self) -> float:
        """Return the seconds until the loss was known."""
        took = until(lambda: self.run.stopped_by is not None, "the loss is not told")
        assert self.run.stopped_by == "target-lost"
        assert len(self.run.df()) >= self.rows > 0
        with pytest.raises(TargetLost):
            self.connection.read("/proc/version")
        return took


def kill_agent(victim: Victim) -> None:
    pid = victim.connection.hello["pid"]
    victim.connection.ask("run", run=victim.connection.new_number(), command=f"kill -9 {pid}")


def kill_qemu(victim: Victim) -> None:
    assert isinstance(victim.connection.target, Sandbox)
    os.kill(victim.connection.target.processes()[-1], signal.SIGKILL)


def panic(victim: Victim) -> None:
    victim.connection.ask("run", run=victim.connection.new_number(),
                          command="echo c >/proc/sysrq-trigger")  # fmt: skip


def kill_ssh(victim: Victim) -> None:
    assert isinstance(victim.connection.target, Ssh)
    assert victim.connection.target.pid is not None
    os.kill(victim.connection.target.pid, signal.SIGKILL)


def stop_ssh(victim: Victim) -> None:
    assert isinstance(victim.connection.target, Ssh)
    assert victim.connection.target.pid is not None
    os.kill(victim.connection.target.pid, signal.SIGSTOP)


@pytest.fixture(scope="module")
def far(fetched_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarMachine]:
    folder: Path = tmp_path_factory.mktemp("far") / "machine"
    folder.mkdir(mode=0o755)
    machine = FarMachine(fetched_kernel, folder)
    yield machine
    machine.close()


@pytest.mark.parametrize("fault", [kill_agent, kill_qemu, panic])
def test_the_sandbox(
    fetched_kernel: str,
    choice: random.Random,
    fault: Callable[[Victim], None],
    record_property: Report,
    in_time: Hold,
) -> None:
    victim = Victim(kpmagic.connect("sandbox", kernel=fetched_kernel), choice.uniform(0, 2))
    assert isinstance(victim.connection.target, Sandbox)
    started = [psutil.Process(pid) for pid in victim.connection.target.processes()[1:]]
    fault(victim)
    told = victim.is_told_and_keeps_rows()
    record_property("seconds until told", told)
    in_time(told, TOLD_SECONDS)
    if fault is panic:
        assert "sysrq" in victim.connection.target.last_words()
    victim.connection.close()
    gone, left = psutil.wait_procs(started, timeout=PATIENCE)
    assert (len(gone), left) == (len(started), [])
    with kpmagic.connect("sandbox", kernel=fetched_kernel) as connection:
        works(connection)


@pytest.mark.parametrize("fault", [kill_ssh, kill_agent, stop_ssh])
def test_a_far_machine(
    far: FarMachine,
    choice: random.Random,
    fault: Callable[[Victim], None],
    record_property: Report,
    monkeypatch: pytest.MonkeyPatch,
    in_time: Hold,
) -> None:
    use_ssh_of(far.folder, monkeypatch)
    victim = Victim(kpmagic.connect("ssh://ada@far"), choice.uniform(0, 2))
    fault(victim)
    told = victim.is_told_and_keeps_rows()
    record_property("seconds until told", told)
    in_time(told, SSH_TOLD_SECONDS if fault is stop_ssh else TOLD_SECONDS)
    victim.connection.close()
    clean = until(lambda: not far.kprobes() and not far.cgroups(), "something is left there")
    record_property("seconds until all was gone", clean)
    with kpmagic.connect("ssh://ada@far") as connection:
        works(connection)


def test_ssh_stopped_for_a_while(
    far: FarMachine,
    choice: random.Random,
    record_property: Report,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From 1 to 60 s: either rows come again, or the loss is told; nothing in between."""
    use_ssh_of(far.folder, monkeypatch)
    seconds = choice.choice((choice.uniform(1, 5), choice.uniform(1, 60)))
    record_property("seconds stopped", seconds)
    with kpmagic.connect("ssh://ada@far") as connection:
        victim = Victim(connection, choice.uniform(0, 1))
        assert isinstance(connection.target, Ssh)
        assert connection.target.pid is not None
        stop_ssh(victim)
        time.sleep(seconds)
        if psutil.pid_exists(connection.target.pid):
            os.kill(connection.target.pid, signal.SIGCONT)
        until(lambda: victim.run.stopped_by or victim.run.recording.rows > victim.rows,
              "neither rows nor the loss")  # fmt: skip
        if seconds < 6:
            assert victim.run.stopped_by is None
        if victim.run.stopped_by is None:
            victim.run.stop()
            assert victim.run.stats.balanced
        assert victim.run.stats.rows == len(victim.run.df()) >= victim.rows
    until(lambda: not far.kprobes() and not far.cgroups(), "something is left there")
    with kpmagic.connect("ssh://ada@far") as connection:
        works(connection)


def test_the_notebook_is_killed(fetched_kernel: str, choice: random.Random) -> None:
    arguments = [sys.executable, "-c", NOTEBOOK, fetched_kernel, BUSY]
    notebook = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert notebook.stdout is not None
    rows = iter(notebook.stdout.readline, "")
    assert any(int(line) > 0 for line in rows)
    reading = threading.Thread(target=lambda: [*rows], daemon=True)
    reading.start()
    started = psutil.Process(notebook.pid).children(recursive=True)
    assert any("qemu" in each.name() for each in started)
    time.sleep(choice.uniform(0, 2))
    notebook.kill()
    notebook.wait()
    reading.join()
    notebook.stdout.close()
    _, left = psutil.wait_procs(started, timeout=PATIENCE)
    assert left == []
