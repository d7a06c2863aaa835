# SPDX-License-Identifier: MIT
"""The agent on a real kernel, with small objects of its own: objects/*.bpf.c."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.errors import AttachError, BuildError, TargetError, VerifierError

OBJECTS = Path(__file__).parent / "objects"
CLANG = shutil.which("clang-19") or shutil.which("clang") or "clang"
STRIDE = 72
PATIENCE = 60.0
SYSCALL = "__x64_sys_getppid"
SLEEP = "hrtimer_nanosleep"


def calls(count: int) -> str:
    """A command that calls getppid() ``count`` times, and its shell once more."""
    return f"/usr/bin/python3 -I -S -c 'import os\nfor _ in range({count - 1}): os.getppid()'"


class Ended:
    """What has come of one run: bytes of DATA, texts of LOG, END and its blob."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.logs: list[dict[str, Any]] = []
        self.counters: dict[str, int] = {}
        self.message: dict[str, Any] = {}
        self.blob = b""
        self.done = threading.Event()

    def on_frame(self, frame: wire.Frame) -> None:
        assert not self.done.is_set()
        if frame.type == wire.DATA:
            self.data += frame.payload
        elif frame.type == wire.LOST:
            self.counters = wire.unpack_json(frame.payload)
        elif frame.type == wire.LOG:
            self.logs.append(wire.unpack_json(frame.payload))
        elif frame.type == wire.END:
            self.message, self.blob = wire.unpack(frame.payload)
            self.done.set()

    def on_lost(self) -> None:
        self.done.set()

    def wait(self) -> dict[str, Any]:
        assert self.done.wait(PATIENCE)
        return self.message

    def wait_for(self, counter: str, count: int) -> None:
        """Return when a counter is known to have come so far."""
        end = time.monotonic() + PATIENCE
        while self.counters.get(counter, 0) < count:
            assert time.monotonic() < end
            time.sleep(0.1)

    @property
    def records(self) -> int:
        assert len(self.data) % STRIDE == 0
        return len(self.data) // STRIDE

    @property
    def balances(self) -> bool:
        """Whether hits are rows and dropped, and all rows have arrived."""
        counters = self.message["counters"]
        return bool(
            counters["hits"] == counters["rows"] + counters["dropped"]
            and counters["rows"] == self.records
        )


class Runner:
    """Starts runs of one object."""

    def __init__(self, connection: Connection, objects: dict[str, bytes]) -> None:
        self.connection = connection
        self.objects = objects
        self.answer: dict[str, Any] = {}
        self.number = 0

    def entry(self, symbol: str | None = SYSCALL, **arguments: Any) -> Ended:
        place = {"address": arguments.pop("address", None), "offset": arguments.pop("offset", 0)}
        programs = [{"program": "entry", "symbol": symbol, **place}]
        return self.start("entry", programs=programs, aggregates=["by_cpu"], **arguments)

    def calls(self, symbol: str, **arguments: Any) -> Ended:
        programs = [
            {"program": "begun", "symbol": symbol},
            {"program": "returned", "symbol": symbol, "return": True},
        ]
        return self.start("calls", programs=programs, entries="kp_calls", **arguments)

    def start(self, object_: str, **arguments: Any) -> Ended:
        self.number = self.connection.new_number()
        ended = Ended()
        self.connection.listen(self.number, ended)
        standard = {"record": 64, "buffer": 8 << 20, "follow": "command" in arguments}
        self.answer, _ = self.connection.request(
            "start", self.objects[object_], run=self.number, **{**standard, **arguments}
        )
        return ended

    def stop(self, reason: str = "user") -> None:
        self.connection.request("stop", run=self.number, reason=reason)

    def probed(self) -> list[str]:
        listed = self.connection.read("/sys/kernel/debug/kprobes/list").decode()
        return [line.split()[2] for line in listed.splitlines()]


def commands(runner: Runner) -> int:
    """Return how many cgroups of commands there are, that of the counting one included."""
    texts: list[str] = []
    runner.connection.run("ls -d /sys/fs/cgroup/kpmagic.*", lambda _, text: texts.append(text))
    return len("".join(texts).split())


def wait_for_the_dying(runner: Runner) -> None:
    """Return when the commands that were killed before have died."""
    end = time.monotonic() + PATIENCE
    while commands(runner) != 1:
        assert time.monotonic() < end, "a command that was killed is still there"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("objects")
    built = {}
    for source in OBJECTS.glob("*.bpf.c"):
        target = folder / f"{source.name}.o"
        flags = ["-target", "bpf", "-g", "-O2", "-mcpu=v3", "-Wall", "-Werror"]
        subprocess.run([CLANG, *flags, "-c", str(source), "-o", str(target)], check=True)
        built[source.name.partition(".")[0]] = target.read_bytes()
    return built


@pytest.fixture
def runner(sandbox: Connection, objects: dict[str, bytes]) -> Runner:
    return Runner(sandbox, objects)


def test_every_hit_of_the_command_is_counted_and_arrives(runner: Runner) -> None:
    run = runner.entry(command=calls(10_007))
    end = run.wait()
    assert end["reason"] == "while"
    assert end["workload"] == {"exit_code": 0}
    assert (end["counters"]["hits"], run.records) == (10_007, 10_007)
    assert run.balances
    assert end["error"] is None
    assert runner.probed() == []


def test_records_lie_as_the_kernel_wrote_them(runner: Runner) -> None:
    run = runner.entry(command=calls(200))
    run.wait()
    lengths = {struct.unpack_from("<I", run.data, at)[0] for at in range(0, len(run.data), STRIDE)}
    assert lengths == {64}
    times = [
        struct.unpack_from("<Q", run.data, at + 8)[0] for at in range(0, len(run.data), STRIDE)
    ]
    assert max(times) - min(times) < 20_000_000_000
    now = time.time_ns()
    shift = int(runner.connection.hello["realtime_minus_monotonic"])
    assert all(abs(ts + shift - now) < 120_000_000_000 for ts in times)


def test_aggregates_come_with_the_end(runner: Runner) -> None:
    run = runner.entry(command=calls(1000))
    end = run.wait()
    (index,) = end["maps"]
    cpus = runner.connection.cpus
    assert (index["map"], index["key_size"]) == ("by_cpu", 8)
    entries = list(struct.Struct(f"<Q{2 * cpus}q").iter_unpack(run.blob))
    assert len(entries) == index["entries"]
    assert all(cpu < cpus for cpu, *_ in entries)
    assert sum(sum(totals[0::2]) for _, *totals in entries) == 1000
    assert sum(sum(totals[1::2]) for _, *totals in entries) == 7 * 1000


def test_a_small_buffer_loses_rows_and_says_how_many(runner: Runner) -> None:
    run = runner.entry(command=calls(100_000), buffer=1 << 16)
    end = run.wait()
    assert end["counters"]["hits"] == 100_000
    assert end["counters"]["dropped"] > 0
    assert run.balances


@pytest.mark.parametrize("shells", [1, 3])
def test_rows_end_exactly_at_the_limit(runner: Runner, shells: int) -> None:
    command = " & ".join([calls(100_000)] * shells) + "; wait"
    run = runner.entry(command=command, config={"max_rows": 5003})
    end = run.wait()
    assert end["reason"] == "max-events"
    assert end["workload"] == {"exit_code": 137}
    assert run.records == 5003
    assert run.balances


def test_the_shell_that_waits_is_not_counted(runner: Runner) -> None:
    """It may still be starting when everything is attached."""
    for _ in range(10):
        run = runner.entry(command=calls(2))
        assert run.wait()["counters"]["hits"] == 2


@pytest.mark.parametrize(("limit", "reason"), [("for_ns", "for"), ("max_ns", "max-time")])
def test_time_limits(runner: Runner, limit: str, reason: str) -> None:
    began = time.monotonic()
    run = runner.entry(**{limit: 300_000_000})
    assert run.wait()["reason"] == reason
    assert time.monotonic() - began >= 0.3


def test_a_stop_gives_all_that_was_counted(runner: Runner) -> None:
    run = runner.entry(command=calls(10_000_000))
    time.sleep(0.5)
    runner.stop("interrupt")
    end = run.wait()
    assert end["reason"] == "interrupt"
    assert end["counters"]["rows"] > 0
    assert run.balances
    assert runner.probed() == []


def test_counters_and_aggregates_while_it_runs(runner: Runner) -> None:
    run = runner.entry()
    assert runner.connection.run(calls(100)) == 0
    run.wait_for("hits", 100)
    answer, blob = runner.connection.request("aggregates", run=runner.number)
    assert answer["maps"][0]["entries"] * (8 + 16 * runner.connection.cpus) == len(blob)
    runner.stop()
    assert run.wait()["counters"]["hits"] >= run.counters["hits"]
    with pytest.raises(TargetError, match="no run"):
        runner.connection.request("aggregates", run=runner.number)


def test_output_of_the_command_comes_before_the_end(runner: Runner) -> None:
    run = runner.entry(command="echo out; echo err >&2; exit 3")
    end = run.wait()
    assert end["workload"] == {"exit_code": 3}
    assert sorted((log["stream"], log["text"]) for log in run.logs) == [
        ("stderr", "err\n"),
        ("stdout", "out\n"),
    ]


def test_a_probe_by_address(runner: Runner) -> None:
    symbols = runner.connection.read("/proc/kallsyms").decode()
    lines = [line.split() for line in symbols.splitlines()]
    address = next(int(words[0], 16) for words in lines if words[2] == SYSCALL)
    run = runner.entry(None, address=address, command=calls(100))
    (attached,) = runner.answer["attached"]
    assert 0 <= attached["address"] - address <= 4  # behind endbr64
    assert run.wait()["counters"]["hits"] == 100


def test_sleepers_are_in_flight(runner: Runner) -> None:
    sleepers = "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i+1)); done; wait"
    run = runner.calls(SLEEP, command=sleepers)
    run.wait_for("entries", 60)
    runner.stop()
    end = run.wait()
    counters = end["counters"]
    assert counters["entries"] == 60
    assert (counters["hits"], counters["unpaired"], end["in_flight"]) == (0, 0, 60)


def test_missed_returns_are_unpaired(runner: Runner) -> None:
    """A kretprobe has room for a few calls at a time; the kernel misses the returns of others."""
    sleepers = "i=0; while [ $i -lt 60 ]; do sleep 2 & i=$((i+1)); done; wait"
    end = runner.calls(SLEEP, command=sleepers).wait()
    counters = end["counters"]
    assert counters["entries"] == 60 == counters["hits"] + counters["unpaired"]
    assert end["in_flight"] == 0
    assert counters["unpaired"] > 0
    assert end["missed"] in (None, counters["unpaired"])


def test_many_leftovers_are_judged(
    runner: Runner, record_property: Callable[[str, object], None]
) -> None:
    """As many as the guest's memory allows."""
    script = (
        "import time\n"
        "from threading import Thread, stack_size\n"
        "stack_size(65536)\n"
        "for _ in range(1500): Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
        "time.sleep(100)"
    )
    command = f"/usr/bin/python3 -I -S -c '{script}'"
    run = runner.calls("__x64_sys_clock_nanosleep", command=command)
    run.wait_for("entries", 1501)
    began = time.monotonic()
    runner.stop()
    end = run.wait()
    record_property("seconds to judge and to kill", time.monotonic() - began)
    assert end["in_flight"] == 1501 == end["counters"]["entries"]
    assert end["counters"]["unpaired"] == 0


@pytest.mark.parametrize(
    "place",
    [
        {"symbol": "no_such_function"},
        {"symbol": "kprobe_ftrace_handler"},
        {"symbol": "vfs_read", "offset": 2},
    ],
)
def test_what_cannot_be_attached_leaves_nothing(runner: Runner, place: dict[str, Any]) -> None:
    programs = [{"program": "entry", "symbol": SYSCALL}, {"program": "entry", **place}]
    wait_for_the_dying(runner)
    with pytest.raises(AttachError):
        runner.start("entry", programs=programs, command="sleep 60")
    assert runner.probed() == []
    assert commands(runner) == 1


def test_an_object_that_is_none(runner: Runner) -> None:
    runner.objects = {"entry": b"\x7fELF and then nothing"}
    with pytest.raises(BuildError):
        runner.entry()


def test_the_verifiers_words_come_back(runner: Runner) -> None:
    with pytest.raises(VerifierError) as caught:
        runner.start("refused", programs=[{"program": "refused", "symbol": SYSCALL}])
    assert "invalid mem access" in getattr(caught.value, "log", "")
    assert getattr(caught.value, "program", "") == "refused"


@pytest.mark.parametrize(
    "switch", ["/sys/kernel/debug/kprobes/enabled", "/proc/sys/kernel/ftrace_enabled"]
)
def test_a_probe_that_could_not_fire_is_refused(runner: Runner, switch: str) -> None:
    assert runner.connection.run(f"echo 0 > {switch}") == 0
    try:
        with pytest.raises(AttachError, match="switched off"):
            runner.entry()
    finally:
        assert runner.connection.run(f"echo 1 > {switch}") == 0
    assert runner.entry(command=calls(10)).wait()["counters"]["hits"] == 10


def test_runs_beside_each_other(runner: Runner) -> None:
    first = runner.entry(command=calls(20_000))
    second = runner.entry("__x64_sys_getpid", command=calls(500).replace("getppid", "getpid"))
    assert first.wait()["counters"]["hits"] == 20_000
    assert second.wait()["counters"]["rows"] == second.records >= 500


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "'hang up'"])
def test_nothing_outlives_an_agent(
    runner: Runner, end: str, record_property: Callable[[str, object], None]
) -> None:
    request = {
        "do": "start",
        "programs": [{"program": "entry", "symbol": "__x64_sys_getppid"}],
        "record": 64,
        "buffer": 1 << 20,
        "command": "sleep 1000 & sleep 1001",
        "follow": True,
        "payload": base64.b64encode(runner.objects["entry"]).decode(),
    }
    texts: list[str] = []
    with tempfile.NamedTemporaryFile("w", dir=Path.cwd(), suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        command = f"/usr/bin/python3 -I -S workloads/killed_agent.py {Path(file.name).name} {end}"
        assert runner.connection.run(command, lambda _, text: texts.append(text)) == 0, texts
    started, ended = "".join(texts).splitlines()
    assert started == "started True 3"  # the probe, the canary, the command's control group
    assert ended.startswith("gone")
    record_property("seconds until all was gone", float(ended.split()[1]))
