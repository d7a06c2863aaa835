# SPDX-License-Identifier: MIT
"""The real agent as a process at stdin and stdout; no kernel of ours is needed for this."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpmagic.agent import loop, wire
from kpmagic.agent.channel import Channel, HangUp
from kpmagic.agent.loop import Agent
from kpmagic.targets.archive import agent_archive

ANSWER_SECONDS = 10.0


def cgroups() -> Path | None:
    """Where this process may make cgroups of version 2, if anywhere."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(where, os.W_OK) and os.geteuid() == 0:
            return Path(where)
    return None


needs_cgroups = pytest.mark.skipif(cgroups() is None, reason="needs root and cgroup v2")


class Client:
    """The notebook's end."""

    def __init__(self, archive: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(archive), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.frames = self._frames()
        self.hello = wire.unpack_json(next(self.frames).payload)
        self.asked = 0

    def _frames(self) -> Iterator[wire.Frame]:
        assert self.process.stdout is not None
        reader = wire.Reader()
        fd = self.process.stdout.fileno()
        while select.select([fd], [], [], ANSWER_SECONDS)[0]:
            data = os.read(fd, 1 << 16)
            if not data:
                return
            yield from reader.feed(data)
        raise TimeoutError("the agent is silent")

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, run: int = 0, **message: Any) -> int:
        self.asked += 1
        self.send(wire.encode(wire.REQUEST, run, wire.pack({"id": self.asked, **message})))
        return self.asked

    def answer(self) -> tuple[dict[str, Any], bytes, list[dict[str, Any]]]:
        """Return the next reply, its blob, and the LOG messages before it."""
        logs = []
        for frame in self.frames:
            if frame.type == wire.REPLY:
                return *wire.unpack(frame.payload), logs
            logs.append(wire.unpack_json(frame.payload))
        raise AssertionError("the agent has hung up")

    def request(self, run: int = 0, **message: Any) -> Any:
        identity = self.ask(run, **message)
        reply, _, _ = self.answer()
        assert reply["id"] == identity
        return reply.get("ok", reply.get("error"))

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(ANSWER_SECONDS)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(agent_archive())
    return path


@pytest.fixture
def client(archive: Path) -> Iterator[Client]:
    client = Client(archive)
    yield client
    client.end()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have noticed yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def text(logs: list[dict[str, Any]], stream: str) -> str:
    return "".join(log["text"] for log in logs if log["stream"] == stream)


def test_hello_tells_of_the_machine(client: Client) -> None:
    before = time.time_ns() - time.monotonic_ns()
    assert client.hello["protocol"] == wire.PROTOCOL
    assert client.hello["release"] == os.uname().release
    assert client.hello["pid"] == client.process.pid
    assert client.hello["cpus"] >= len(os.sched_getaffinity(0))
    assert abs(client.hello["realtime_minus_monotonic"] - before) < 50_000_000


def test_ping(client: Client) -> None:
    assert client.request(do="ping") == {}


@needs_cgroups
def test_silence_beyond_the_lease_ends_it_and_what_it_runs(client: Client) -> None:
    client.ask(1, do="run", command="echo $$; sleep 1000")
    pid = int(wire.unpack_json(next(client.frames).payload)["text"])
    assert client.request(do="ping", lease_ms=300) == {}
    assert client.process.wait(ANSWER_SECONDS) == 0
    assert is_gone(pid)


def test_the_time_that_an_answer_takes_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with a slow request was read with it: nothing is left to read after it."""
    now = 1000.0

    def slow(*_: object) -> None:
        nonlocal now
        now += 40

    monkeypatch.setitem(loop.WORDS, "slow", slow)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(loop, "IDLE_MS", 0)
    source, sink = os.pipe()
    with open(source, "rb", 0), open(sink, "wb", 0) as there, open(os.devnull, "wb", 0) as null:
        agent = Agent(Channel(source, null.fileno()))
        agent.preparations = None
        agent.lease = 30.0
        for word in ("slow", "ping"):
            message = {"id": 1, "do": word, "lease_ms": 30_000}
            there.write(wire.encode(wire.REQUEST, 0, wire.pack(message)))
        assert agent.wait() == {source}
        agent.take()
        agent.channel.flush()
        assert agent.wait() == set()
        now += 31
        with pytest.raises(HangUp, match="silent"):
            agent.wait()


def test_words_within_the_lease_keep_it(client: Client) -> None:
    for _ in range(8):
        assert client.request(do="ping", lease_ms=5_000) == {}
        time.sleep(0.02)
    assert client.request(do="ping") == {}
    assert client.process.poll() is None


def test_read_sends_files_whatever_size_they_claim(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    client.ask(do="read", path=str(path))
    reply, blob, _ = client.answer()
    assert reply["ok"] == {"size": 3_000_000}
    assert blob == path.read_bytes()
    client.ask(do="read", path="/proc/version")
    assert client.answer()[1] == Path("/proc/version").read_bytes()
    client.ask(do="read", path=str(path), size=5)
    assert client.answer()[1] == path.read_bytes()[:5]


@pytest.mark.parametrize(
    ("path", "errno"), [("/nowhere", 2), ("/proc", 21), ("/dev/zero", 22), ("a\udcffb", 2)]
)
def test_read_says_why_not(client: Client, path: str, errno: int) -> None:
    error = client.request(do="read", path=path)
    assert (error["kind"], error["errno"]) == ("os", errno)


@needs_cgroups
def test_run_tells_output_and_exit_code(client: Client) -> None:
    client.ask(5, do="run", command="echo out; echo err >&2; pwd; exit 7", cwd="/usr")
    reply, _, logs = client.answer()
    assert reply["ok"] == {"exit_code": 7}
    assert text(logs, "stdout") == "out\n/usr\n"
    assert text(logs, "stderr") == "err\n"


@needs_cgroups
def test_text_is_decoded_across_pieces(client: Client) -> None:
    client.ask(5, do="run", command=r"printf 'a\303'; sleep 0.2; printf '\274b\377'")
    assert text(client.answer()[2], "stdout") == "aüb\ufffd"


@needs_cgroups
@pytest.mark.parametrize(("signal_", "code"), [("KILL", 137), ("TERM", 143), ("PIPE", 141)])
def test_a_signal_is_told_as_a_shell_does(client: Client, signal_: str, code: int) -> None:
    assert client.request(5, do="run", command=f"kill -{signal_} $$") == {"exit_code": code}


@needs_cgroups
def test_a_command_is_never_part_of_another(client: Client) -> None:
    client.ask(5, do="run", command="echo '$0' \"$0\" \\; '; exit 3'")
    reply, _, logs = client.answer()
    assert reply["ok"] == {"exit_code": 0}
    assert text(logs, "stdout") == "$0 /bin/sh ; ; exit 3\n"


@needs_cgroups
def test_more_output_than_a_pipe_holds(client: Client) -> None:
    client.ask(5, do="run", command="head -c 3000000 /dev/zero | tr '\\0' x")
    assert text(client.answer()[2], "stdout") == "x" * 3_000_000


@needs_cgroups
def test_the_background_is_not_waited_for_and_does_not_stay(client: Client) -> None:
    began = time.monotonic()
    client.ask(5, do="run", command="sleep 60 & echo $!")
    _, _, logs = client.answer()
    assert time.monotonic() - began < 5
    assert is_gone(int(text(logs, "stdout")))


@needs_cgroups
def test_kill_ends_descendants_too(client: Client) -> None:
    run = client.ask(5, do="run", command="(sleep 60; echo no) & setsid sleep 61")
    time.sleep(0.2)
    kill = client.ask(5, do="kill")
    replies = [client.answer()[0] for _ in range(2)]
    assert {"id": kill, "ok": {}} in replies
    assert {"id": run, "ok": {"exit_code": 137}} in replies
    assert not list((cgroups() or Path()).glob(f"kpmagic.{client.process.pid}.*"))


@needs_cgroups
def test_run_says_why_not(client: Client) -> None:
    error = client.request(5, do="run", command="true", cwd="/nowhere")
    assert (error["kind"], error["errno"]) == ("spawn", 2)
    client.ask(6, do="run", command="sleep 60")
    assert client.request(6, do="run", command="true")["kind"] == "request"


@needs_cgroups
@pytest.mark.parametrize("way", ["hang up", signal.SIGTERM, signal.SIGKILL])
def test_no_command_outlives_the_agent(archive: Path, way: Any) -> None:
    client = Client(archive)
    client.ask(5, do="run", command="sleep 600 & setsid sleep 601 & wait")
    client.request(do="ping")
    groups = list((cgroups() or Path()).glob(f"kpmagic.{client.process.pid}.*"))
    assert len(groups) == 1
    time.sleep(0.2)
    if way != "hang up":
        client.process.send_signal(way)
    began = time.monotonic()
    client.end()
    while groups[0].exists() and time.monotonic() - began < 2:
        time.sleep(0.01)
    assert not groups[0].exists()
    assert time.monotonic() - began < 1


TWO_SIGNALS = """
import os, signal, sys
from kpmagic.agent import __main__ as program, loop

class Agent:
    def __init__(self, channel, parent):
        pass

    def serve(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, program.ENDS)
        for number in program.ENDS:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, program.ENDS)  # all of them at once
        raise AssertionError("no signal has come")

    def close(self):
        for number in program.ENDS:
            os.kill(os.getpid(), number)
        sys.stderr.write("undone")

loop.Agent = Agent
program.main(["agent", "-"])
"""


def test_signals_in_a_row_do_not_keep_it_from_undoing() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_SIGNALS], capture_output=True, check=False)
    assert done.stderr == b"undone"
    assert done.returncode > 128


@needs_cgroups
def test_requests_are_answered_while_a_command_runs(client: Client) -> None:
    run = client.ask(5, do="run", command="sleep 0.3")
    assert client.request(do="ping") == {}
    assert client.answer()[0] == {"id": run, "ok": {"exit_code": 0}}


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's log is root's")
def test_log_is_the_kernels(client: Client) -> None:
    lines = client.request(do="log")["lines"]
    assert all(";" in line for line in lines)


@pytest.mark.parametrize(
    "message",
    [
        {"do": "nothing"},
        {"do": ["ping"]},
        {},
        {"do": "read"},
        {"do": "read", "path": 5},
        {"do": "read", "path": "/etc\0/passwd"},
        {"do": "read", "path": "a\ud800b"},
        {"do": "run", "command": None},
        {"do": "stop", "reason": 1},
        {"do": "aggregates"},
        {"do": "start"},
        {"do": "start", "programs": []},
        {"do": "start", "programs": [{"program": "p"}], "record": 8, "buffer": 4096},
        {"do": "start", "programs": [7], "record": 8, "buffer": 4096},
        {"do": "start", "programs": [{"program": "p", "symbol": "s"}], "record": 8, "buffer": 5000},
        {"do": "start", "programs": [{"program": "p", "symbol": "s"}], "record": 8,
         "buffer": 4096, "follow": True},
        {"do": "start", "programs": [{"program": "p", "symbol": "s"}], "record": 8,
         "buffer": 4096, "config": {"pid": -1}},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(client: Client, message: dict[str, Any]) -> None:
    assert client.request(**message)["kind"] == "request"
    assert client.request(do="ping") == {}


def test_other_frames_are_no_requests(client: Client) -> None:
    for type_ in (wire.HELLO, wire.DATA, wire.END):
        client.send(wire.encode(type_, 0, b"{}"))
        assert client.answer()[0]["error"]["kind"] == "request"
    client.send(wire.encode(wire.REQUEST, 0, b"\xff\0\0\0{}"))
    assert client.answer()[0]["error"]["kind"] == "request"
    assert client.request(do="ping") == {}


@pytest.fixture(scope="module")
def tough(archive: Path) -> Iterator[Client]:
    """An agent that has to bear all that follows."""
    client = Client(archive)
    yield client
    assert client.end() == 0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=wire.HEADER.size, max_size=100))
def test_garbage_between_frames(tough: Client, garbage: bytes) -> None:
    """What cannot begin a frame is forgotten; the next request is answered."""
    tough.send(b"\xff" + garbage)
    assert tough.answer()[0]["error"]["kind"] == "request"
    assert tough.request(do="ping") == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
words = st.sampled_from(["ping", "kill", "stop", "start", "aggregates"])
names = st.sampled_from(["programs", "config", "record", "buffer", "reason", "max_ns", "entries"])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(words, st.dictionaries(names, json_values), st.binary(max_size=50))
def test_any_message_is_answered(
    tough: Client, word: str, message: dict[str, Any], blob: bytes
) -> None:
    payload = wire.pack({**message, "id": 1, "do": word}, blob)
    tough.send(wire.encode(wire.REQUEST, 9, payload))
    reply, _, _ = tough.answer()
    assert "ok" in reply or reply["error"]["kind"] in ("request", "load", "permission")


def test_hanging_up_ends_it_at_once(archive: Path) -> None:
    client = Client(archive)
    began = time.monotonic()
    assert client.end() == 0
    assert time.monotonic() - began < 0.5


def test_a_reader_that_is_gone_ends_it(archive: Path) -> None:
    client = Client(archive)
    assert client.process.stdout is not None
    client.process.stdout.close()
    assert client.process.wait(2) == 0
    assert client.process.stdin is not None
    client.process.stdin.close()


def test_the_end_of_its_parent_ends_it(archive: Path) -> None:
    """Somebody else holds the agent's input open."""
    source, sink = os.pipe()
    script = (
        "import subprocess, sys; agent = subprocess.Popen([sys.executable, '-I', '-S',"
        f" {str(archive)!r}, '-'], stdin={source}, stdout=subprocess.PIPE);"
        "agent.stdout.read(1); print(agent.pid)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[source], capture_output=True, check=True
    )
    end = time.monotonic() + 2
    while not is_gone(int(parent.stdout)) and time.monotonic() < end:
        time.sleep(0.02)
    assert is_gone(int(parent.stdout))
    os.close(source)
    os.close(sink)


def test_it_needs_one_argument(archive: Path) -> None:
    command = [sys.executable, "-I", "-S", str(archive)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")
