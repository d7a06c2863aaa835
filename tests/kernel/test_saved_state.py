# SPDX-License-Identifier: MIT
"""Sandboxes that are copies of a saved machine: alike but for what must differ."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpmagic import cache
from kpmagic.channel.connection import Connection
from kpmagic.targets import saved_state
from kpmagic.targets.sandbox import Sandbox

CLOCK_NS = 50_000_000
# these differ from machine to machine
OWN = (
    "cat /proc/sys/kernel/random/boot_id /etc/machine-id",
    "head -c 32 /dev/urandom | od -An -tx1 -w32",
    "mktemp -u",
    'python3 -c \'print(hash("x"), __import__("random").random())\'',
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, fetched_kernel: str) -> Iterator[Path]:
    """Where machines are saved, empty; the kernels are those fetched."""
    kernels = cache.directory("kernels")
    top = tmp_path_factory.mktemp("cache")
    (top / "kernels").symlink_to(kernels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPMAGIC_CACHE", str(top))
        yield top / "machines"


@pytest.fixture
def machine(home: Path, fetched_kernel: str) -> Path:
    """A saved machine, saved by the first sandbox of a notebook in another folder."""
    folder = home.parent / "a-folder-with-this-name"
    folder.mkdir(exist_ok=True)
    if not list(home.glob("[!.]*")):
        sandbox = Sandbox(fetched_kernel, workdir=folder)
        sandbox.boot()
        sandbox.close()
        assert not sandbox.restored
    (found,) = home.glob("[!.]*")
    return found


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """The notebook's folder."""
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson/data.txt").write_text("41")
    return tmp_path / "lesson"


def started(version: str, folder: Path) -> tuple[Sandbox, Connection]:
    """Return a sandbox whose agent has greeted."""
    sandbox = Sandbox(version, workdir=folder)
    connection = Connection(sandbox)
    connection.wait_for_hello()
    return sandbox, connection


@pytest.fixture
def copies(machine: Path, fetched_kernel: str, lesson: Path) -> Iterator[list[Connection]]:
    """Two sandboxes at the same time, copies of one machine."""
    found = [started(fetched_kernel, lesson) for _ in range(2)]
    assert all(sandbox.restored for sandbox, _ in found)
    yield [connection for _, connection in found]
    for _, connection in found:
        connection.close()


def said(connection: Connection, command: str) -> str:
    """Run a command in the sandbox; return its output."""
    pieces: list[str] = []
    connection.run(command, lambda _, text: pieces.append(text))
    return "".join(pieces).strip()


def test_copies_differ_where_they_must(copies: list[Connection], lesson: Path) -> None:
    one, two = copies
    for command in OWN:
        mine, other = said(one, command).splitlines(), said(two, command).splitlines()
        assert mine
        assert not set(mine) & set(other), command
    assert one.hello["boot_id"] != two.hello["boot_id"]
    for each in copies:
        assert each.hello["boot_id"] == said(each, OWN[0]).split()[0]
        assert said(each, "pwd; cat data.txt").split() == [str(lesson), "41"]
        assert said(each, "echo 42 >data.txt; cat data.txt") == "42"
    assert (lesson / "data.txt").read_text() == "41"


def test_the_clock_is_the_notebooks(copies: list[Connection]) -> None:
    for each in copies:
        before = time.time_ns()
        told = int(said(each, "date +%s%N"))
        assert before - CLOCK_NS < told < time.time_ns() + CLOCK_NS
        # a guest may be held up between two clocks
        code = "import time\nfor _ in range(20): print(time.time_ns() - time.monotonic_ns())"
        offsets = map(int, said(each, f"python3 -c '{code}'").split())
        told = each.hello["realtime_minus_monotonic"]
        assert min(abs(offset - told) for offset in offsets) < CLOCK_NS


def test_nothing_of_a_notebook_is_saved(machine: Path) -> None:
    for path in (machine, *machine.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    for name in ("ram", "device"):
        assert b"a-folder-with-this-name" not in (machine / name).read_bytes()


def test_a_damaged_machine_is_made_anew(machine: Path, fetched_kernel: str, lesson: Path) -> None:
    os.truncate(machine / "ram", 1 << 20)
    for restored in (False, True):
        sandbox, connection = started(fetched_kernel, lesson)
        assert sandbox.restored is restored
        assert said(connection, "cat data.txt") == "41"
        connection.close()


def test_a_crash_is_followed_by_a_copy(machine: Path, fetched_kernel: str, lesson: Path) -> None:
    sandbox, connection = started(fetched_kernel, lesson)
    os.kill(sandbox.processes()[-1], 9)
    while sandbox.alive:
        time.sleep(0.01)
    connection.close()
    again = Connection(sandbox)
    assert sandbox.restored
    assert said(again, "cat data.txt") == "41"
    again.close()


SAVING = """
import sys
from kpmagic.targets.sandbox import Sandbox
Sandbox(sys.argv[1]).boot()
"""


def test_a_notebook_killed_while_it_saves(
    home: Path, fetched_kernel: str, lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/kernels").symlink_to(home.parent / "kernels")
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path / "cache"))
    machines = tmp_path / "cache/machines"
    with subprocess.Popen([sys.executable, "-c", SAVING, fetched_kernel]) as notebook:
        while notebook.poll() is None and not list(machines.glob(".saving-*")):
            time.sleep(0.001)
        notebook.kill()
    _, connection = started(fetched_kernel, lesson)
    assert said(connection, "cat data.txt") == "41"
    connection.close()
    names = [each.name for each in machines.iterdir() if each.is_dir()]
    assert len(names) == 1
    assert not names[0].startswith(".")


def test_one_that_does_not_come_up_is_left_alone(
    machine: Path, fetched_kernel: str, lesson: Path
) -> None:
    noise = os.urandom((machine / "device").stat().st_size)
    (machine / "device").write_bytes(noise)
    told = json.loads((machine / "complete.json").read_text())
    time_ = (machine / "device").stat().st_mtime_ns
    told |= {"device": [len(noise), time_], "digest": hashlib.sha256(noise).hexdigest()}
    (machine / "complete.json").write_text(json.dumps(told))
    sandbox, connection = started(fetched_kernel, lesson)
    assert not sandbox.restored
    assert "did not come up" in sandbox.start_note
    assert said(connection, "cat data.txt") == "41"
    connection.close()
    assert not machine.exists()
    assert saved_state.distrusted(machine.name)
