# SPDX-License-Identifier: MIT
"""Frames that nobody would send: the wire's reader, and the agent itself as a process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amount import FULL

from kpmagic.agent import wire
from kpmagic.targets.archive import agent_archive

FRAMES = 100_000 if FULL else 5_000
TOLD = 20_000 if FULL else 500  # of the frames that the agent itself is sent
SECONDS = 1.0
WORDS = ("ping", "kill", "stop", "start", "aggregates", "read", "log", "clean", "",
         "insmod", "run", "nothing")  # fmt: skip
KEYS = ("programs", "config", "record", "buffer", "reason", "max_ns", "for_ns", "entries", "path",
        "size", "lease_ms", "module", "key_sizes", "follow", "cwd", "tool", "name")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 31, 1 << 63, 1 << 70, 1.5, "", "x", "../../etc", "\0", "\ud800", [],
    {}, [[]], [None], {"a": 1}, ["x"] * 9, [{"program": "p", "symbol": "s", "address": -1}],
)  # fmt: skip
KINDS = {"request", "load", "permission", "os", "spawn", "module", "tool", "missing", "attach",
         "verifier"}  # fmt: skip
# what they would do to the machine the tests run on is not theirs to try
HARMLESS = frozenset(WORDS) - {"clean", "insmod", "run"}


def payload(chance: random.Random, words: frozenset[str] = frozenset(WORDS)) -> bytes:
    """Return what a REQUEST may hold, or nearly."""
    message = {chance.choice(KEYS): chance.choice(VALUES) for _ in range(chance.randrange(5))}
    message |= {"id": chance.randrange(1, 99), "do": chance.choice(sorted(words))}
    text = wire.pack(message, chance.randbytes(chance.choice((0, 0, 1, 50))))
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        text = text[:at] + chance.randbytes(chance.randrange(4)) + text[at + 1 :]
    return text


def frame(chance: random.Random) -> bytes:
    """Return a frame, or what is none."""
    kind = chance.random()
    if kind < 0.1:
        return chance.randbytes(chance.randrange(40))
    type_ = chance.choice((*wire.NAMES, 0, 9, 255)) if kind < 0.3 else wire.REQUEST
    body = payload(chance)
    length = len(body) if kind > 0.2 else chance.choice((0, 1, 100, wire.MAX_PAYLOAD + 1))
    return wire.header(type_, chance.randrange(1 << 32), length) + body


@pytest.mark.timeout(1800)
def test_the_reader(chance: random.Random) -> None:
    seen = {"frames": 0, "messages": 0, "refused": 0}
    reader = wire.Reader()
    for _ in range(FRAMES):
        data = frame(chance)
        began = time.process_time()
        try:
            for each in reader.feed(data):
                seen["frames"] += 1
                wire.unpack(each.payload)
                seen["messages"] += 1
        except wire.WireError:
            seen["refused"] += 1
            reader = wire.Reader()
        assert time.process_time() - began < SECONDS, data
        if len(reader._pieces) > 4096:  # waits for the rest of a frame that is none
            reader = wire.Reader()
    assert min(seen.values()) > FRAMES / 50, seen


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real agent, without rights to the kernel, at two pipes."""
    archive = tmp_path / "agent"
    archive.write_bytes(agent_archive())
    archive.chmod(0o644)
    tmp_path.chmod(0o755)
    words = [sys.executable, "-I", "-S", str(archive), "-"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


@pytest.mark.timeout(3600)
def test_the_agent(agent: subprocess.Popen[bytes], chance: random.Random) -> None:
    assert agent.stdin is not None
    assert agent.stdout is not None
    replies = answers(agent.stdout.fileno())
    assert next(replies)["protocol"] == wire.PROTOCOL
    slowest = 0.0
    for number in range(TOLD):
        body = payload(chance, HARMLESS)
        began = time.monotonic()
        agent.stdin.write(wire.encode(wire.REQUEST, chance.randrange(1 << 16), body))
        agent.stdin.write(wire.encode(wire.REQUEST, 0, wire.pack({"id": 1000, "do": "ping"})))
        agent.stdin.flush()
        try:
            for answer in replies:
                if "error" in answer:
                    assert answer["error"]["kind"] in KINDS, (body, answer)
                if answer.get("id") == 1000:
                    break
        except StopIteration:
            raise AssertionError(f"the agent ended at frame {number}: {body!r}") from None
        slowest = max(slowest, time.monotonic() - began)
        assert agent.poll() is None, body
    assert slowest < 20 * SECONDS if os.getloadavg()[0] > 4 else slowest < SECONDS
    agent.stdin.close()
    assert agent.wait(10) == 0


def answers(fd: int) -> Iterator[dict[str, Any]]:
    """Yield HELLO and the message of each reply."""
    reader = wire.Reader()
    while data := os.read(fd, 1 << 16):
        for each in reader.feed(data):
            if each.type == wire.HELLO:
                yield json.loads(each.payload)
            elif each.type == wire.REPLY:
                yield wire.unpack(each.payload)[0]
