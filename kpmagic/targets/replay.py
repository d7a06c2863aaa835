# SPDX-License-Identifier: MIT
"""Recordings as a target: a cell that was recorded gets what it got then, without a kernel.

The agent is here, in this process, and speaks agent/wire.py; its rows are Arrow batches, as its
HELLO says (``rows``: ``arrow``).
"""

from __future__ import annotations

import math
import queue
import shlex
import threading
from collections.abc import Callable, Iterable, KeysView
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpmagic.agent import wire
from kpmagic.answers import (
    FILE,
    Answer,
    error_of,
    of_line,
    of_module,
    of_probe,
    of_script,
    read,
    words_of,
)
from kpmagic.cell.script import Script
from kpmagic.errors import RecordingError, TargetError
from kpmagic.model import Artifact, LeftOut, Module, Plan, Probe
from kpmagic.saved import recorded
from kpmagic.saved.past import AnyPast, ModulePast, Past, PeerPast
from kpmagic.saved.paths import path_of
from kpmagic.targets.playing import Player

Asked = Probe | Module | Script
FOLDER = "recordings"
NAMED = 12
REAL = "%kp target sandbox runs it on a real kernel"
NO_KERNEL = ("this target plays recordings back: there is no kernel behind it that could be asked "
             "or run a command")  # fmt: skip


def parse_speed(value: object) -> float:
    """Return how many times faster than recorded; None and ``full`` do not wait.

    Raises ValueError.
    """
    if value is None or value == "full":
        return math.inf
    try:
        speed = float(str(value).removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise ValueError("1 is as fast as recorded, 10 ten times that, full does not wait")
    return speed


class Replay:
    """A recording, or a folder of them, that answers the cells they were made by.

    Of several of the same cell each is played in its turn, in the order of their making.
    ``speed`` is 1 for as fast as it was, 10 for ten times that; the default does not wait.
    Raises TargetError, RecordingError.
    """

    name = "replay"

    def __init__(self, path: str = FOLDER, speed: float = math.inf) -> None:
        self.path = path_of(path)
        self.speed = speed
        self.alive = True
        self.pasts = _pasts(self.path)
        self._answers = _answers(self.path)
        self._by_cell: dict[str, list[Path]] = {}
        self._dry: dict[str, list[Path]] = {}
        self._turns: dict[str, int] = {}
        for file, past in self.pasts.items():
            cell, dry = _cell_of(past)
            (self._dry if dry else self._by_cell).setdefault(cell, []).append(file)
        self._agent = Agent(self)

    def prepared(self, asked: Probe) -> tuple[Plan, Artifact]:
        """Return plan and artifact of the recording of a cell. Raises TargetError."""
        file = self._file(of_probe(asked), asked)
        past = self.pasts[file]
        assert isinstance(past, Past)  # as its cell says
        left_out = tuple(LeftOut(each.name, each.why) for each in past.left_out)
        plan = replace(past.plan, probe=asked, left_out=left_out)
        source = replace(past.source, left_out=())
        return plan, Artifact(source, str(file).encode(), past.compiler, 0.0, past.digest)

    def prepared_module(self, asked: Module) -> tuple[ModulePast, Artifact]:
        """Return the recording of a module's cell. Raises TargetError."""
        file = self._file(of_module(asked), asked)
        past = self.pasts[file]
        assert isinstance(past, ModulePast)  # as its cell says
        module = replace(past.module, options=asked.options, cell=asked.cell,
                         body_line=asked.body_line)  # fmt: skip
        artifact = Artifact(past.source, str(file).encode(), past.compiler, 0.0, past.digest)
        return replace(past, module=module), artifact

    def prepared_script(self, asked: Script) -> Artifact:
        """Return the recording of another tracer's cell. Raises TargetError."""
        file = self._file(of_script(asked), asked)
        return Artifact(self.pasts[file].source, str(file).encode(), asked.tool, 0.0, "")

    def _file(self, cell: str, asked: Asked) -> Path:
        """Return the recording whose turn it is. Raises TargetError."""
        dry = asked.options.dry_run
        files = self._by_cell.get(cell) or (self._dry.get(cell) if dry else None)
        if files is None:
            failed = self._answers.get(cell)
            raise error_of(failed.failure) if failed and failed.failure else self._unknown(asked)
        turn = self._turns.get(cell, 0)
        if not dry:
            self._turns[cell] = turn + 1
        return files[turn % len(files)]

    def answer(self, words: Iterable[str]) -> Answer:
        """Return what a ``%kp`` line got. Raises TargetError."""
        asked = list(words)
        found = self._answers.get(of_line(asked))
        if found is None:
            known = [shlex.join(words) for words in map(words_of, self._answers) if words]
            there = f"there is {'; '.join(f'%kp {each}' for each in known[:NAMED])}" if known \
                else "nothing that %kp asks was recorded"  # fmt: skip
            raise TargetError(f"no recording of '%kp {shlex.join(asked)}': {there}",
                              hint=f"{NO_KERNEL}\n{REAL}")  # fmt: skip
        return found

    def _unknown(self, asked: Asked) -> TargetError:
        known = [_shown(past) for past in self.pasts.values()]
        near = [each for past, each in zip(self.pasts.values(), known, strict=True)
                if _named(_asked_of(past)) & _named(asked)]
        kind = _kind(asked)
        shown = list(dict.fromkeys(near + known))
        more = f", and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
        hint = "a cell is found by its places, body, command and filters, all as they were recorded"
        return TargetError(
            f"no recording of {kind} {' '.join(_named(asked))} as this cell has it; there is "
            f"{'; '.join(shown[:NAMED])}{more}",
            hint=f"{hint}\n{REAL}",
        )

    def open_agent(self) -> Agent:
        """Return the channel to the agent."""
        return self._agent

    def kernel_btf(self) -> None:
        """Return None: there is no kernel."""

    def last_words(self) -> str:
        """Return nothing: those of a recorded run come with it."""
        return ""

    def close(self) -> None:
        """End every run."""
        self.alive = False
        self._agent.close()


def _cell_of(past: AnyPast) -> tuple[str, bool]:
    """Return which cell a recording is of, and whether it was a dry run."""
    asked = _asked_of(past)
    if isinstance(asked, Module):
        return of_module(asked), asked.options.dry_run
    if isinstance(asked, Probe):
        return of_probe(asked), asked.options.dry_run
    return of_script(asked), asked.options.dry_run


def _asked_of(past: AnyPast) -> Asked:
    """Return the cell that a recording is of."""
    if isinstance(past, ModulePast):
        return past.module
    return past.plan.probe if isinstance(past, Past) else past.script


def _kind(asked: Asked) -> str:
    if isinstance(asked, Module):
        return "kmodule"
    return asked.kind if isinstance(asked, Probe) else asked.tool


def _named(asked: Asked) -> KeysView[str]:
    """Return what a cell names, in order."""
    return dict.fromkeys([spec.text for spec in asked.specs] if isinstance(asked, Probe)
                         else [asked.name]).keys()  # fmt: skip


def _shown(past: AnyPast) -> str:
    """Return a recorded cell in few words."""
    probe = _asked_of(past)
    if not isinstance(probe, Probe):
        return f"{_kind(probe)} {probe.name}"
    parts = [probe.kind, *(spec.text for spec in probe.specs)]
    if probe.body is not None:
        body = " ".join(probe.body.split())
        parts.append(f"{{{body if len(body) <= 50 else body[:49] + '…'}}}")
    if probe.options.command is not None:
        parts.append(f"--while {probe.options.command!r}")
    return " ".join(parts)


def _pasts(path: Path) -> dict[Path, AnyPast]:
    """Return what each file of ``path`` is a recording of, in the order of their making."""
    if not path.exists():
        raise TargetError(f"no recording at {str(path)!r}",
                          hint="replay:FILE or replay:FOLDER is what run.save wrote")  # fmt: skip
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files and not list(path.rglob(FILE)):
        raise TargetError(f"no recording (*.parquet) in {str(path)!r}")
    pasts = {file: recorded.read(file)[0] for file in files}
    return dict(sorted(pasts.items(), key=lambda item: item[1].started))


def _answers(path: Path) -> dict[str, Answer]:
    """Return cell → what it got besides rows."""
    files = sorted(path.rglob(FILE)) if path.is_dir() else []
    return {answer.cell: answer for file in files for answer in read(file)}


class Agent:
    """The other end of the wire: answers requests, and plays recordings."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._reader = wire.Reader()
        self._out: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._players: dict[int, Player] = {}
        self._words: dict[str, Callable[[wire.Frame, dict[str, Any], bytes], None]] = {
            "ping": lambda frame, asked, blob: self._reply(frame, asked, {}),
            "start": self._start,
            "insmod": self._start,
            "peer": self._start,
            "stop": self._stop,
            "aggregates": self._aggregates,
        }
        plan = next((p.plan for p in replay.pasts.values() if isinstance(p, Past)), None)
        release = next((p.release for p in replay.pasts.values() if not isinstance(p, Past)), "")
        self.say(wire.HELLO, 0, wire.pack_json({
            "protocol": wire.PROTOCOL, "release": plan.release if plan else release,
            "rows": "arrow", "cpus": plan.cpus if plan else 1, "machine": "",
            "libbpf": None, "no_kernel": NO_KERNEL,
        }))  # fmt: skip

    def send(self, data: bytes) -> None:
        """Take requests."""
        for frame in self._reader.feed(data):
            asked, blob = wire.unpack(frame.payload)
            self._words.get(str(asked.get("do")), self._refuse)(frame, asked, blob)

    def receive(self) -> bytes:
        """Return the next frame, ``b""`` at the end."""
        return self._out.get()

    def close(self) -> None:
        """End every run at once."""
        for player in self._players.values():
            player.leave()
        self._out.put(b"")

    def say(self, type_: int, run: int, payload: bytes) -> None:
        """Send a frame."""
        self._out.put(wire.encode(type_, run, payload))

    def _reply(
        self, frame: wire.Frame, asked: dict[str, Any], ok: dict[str, Any], blob: bytes = b""
    ) -> None:
        self.say(wire.REPLY, frame.run, wire.pack({"id": asked["id"], "ok": ok}, blob))

    def _refuse(self, frame: wire.Frame, asked: dict[str, Any], blob: bytes) -> None:
        error = {"kind": "os", "message": NO_KERNEL}
        self.say(wire.REPLY, frame.run, wire.pack({"id": asked["id"], "error": error}))

    def _start(self, frame: wire.Frame, asked: dict[str, Any], blob: bytes) -> None:
        file = Path(blob.decode())
        try:
            past, rows = recorded.read(file if file in self._replay.pasts else Path())
        except RecordingError as error:
            told = {"kind": "request", "message": error.message}
            self.say(wire.REPLY, frame.run, wire.pack({"id": asked["id"], "error": told}))
            return
        player = self._players[frame.run] = Player(
            past, rows, self._replay.speed, lambda type_, payload: self.say(
                type_, frame.run, payload))  # fmt: skip
        # with all that the agent answered then; the run has it under its users' name
        answer = {} if isinstance(past, PeerPast) else \
            dict(past.info) | {"ways": past.info.get("attached_by", [])}  # fmt: skip
        if isinstance(past, ModulePast):
            answer |= {"lines": dict(past.lines), "load_ns": 0}
        self._reply(frame, asked, answer)
        threading.Thread(target=player.play, name="kpmagic replay", daemon=True).start()

    def _stop(self, frame: wire.Frame, asked: dict[str, Any], blob: bytes) -> None:
        self._reply(frame, asked, {})
        if frame.run in self._players:
            self._players[frame.run].stop(str(asked.get("reason", "user")))

    def _aggregates(self, frame: wire.Frame, asked: dict[str, Any], blob: bytes) -> None:
        if frame.run not in self._players:
            return self._refuse(frame, asked, blob)
        past = self._players[frame.run].past
        maps = [vars(part) for part in past.outcome.maps]
        return self._reply(frame, asked, {"maps": maps}, past.maps)
