# SPDX-License-Identifier: MIT
"""Everything of a run but its rows, as one value, and that value as text in a file.

Nothing here is code, and nothing of it is run: what a recording says is shown, never done.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..cell.script import Script
from ..cell.values import MOST_CPUS
from ..errors import RecordingError
from ..model import Module, Plan, Source
from ..outcome import Outcome
from ..stats import Cost
from .plain import from_plain, to_plain

FORMATS = {"probe": 1, "module": 2, "script": 3}  # what each kind of run is written as
KEY_KIND = "kpmagic.kind"
KEY_FORMAT, KEY_RUN, KEY_MAPS, KEY_DIGEST = (
    "kpmagic.format", "kpmagic.run", "kpmagic.aggregates", "kpmagic.digest",
)  # fmt: skip
HINT = "a recording is what run.save(path) or --save FILE writes"
NEWER_HINT = "pip install --upgrade kpmagic"


@dataclass(frozen=True)
class Spent:
    """What handlers took, as ``run.info`` has it: a stats.Cost with its share."""

    runs: int
    busy_ns: int
    elapsed_ns: int
    share: float


# what is read of a run's info, where it is there
INFO: dict[str, Any] = {"addresses": dict[str, str], "missed_by": dict[str, int], "cost": Spent}


@dataclass(frozen=True)
class Left:
    """A place that a wildcard left out, as ``run.info`` has it."""

    name: str
    why: str


@dataclass(frozen=True)
class Past:
    """A run that is over, without its rows.

    ``info`` is what the run's info has beyond plan and artifact; ``target`` is where it ran;
    ``maps`` are the bytes of its aggregates.
    """

    plan: Plan
    source: Source
    target: str
    kpmagic: str = ""
    compiler: str = ""
    seconds: float = 0.0
    digest: str = ""
    started: float = 0.0
    left_out: tuple[Left, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    maps: bytes = b""


@dataclass(frozen=True)
class ModulePast:
    """A module's run that is over, without its log.

    ``lines`` are the lines of the cell that frames of its oops (``function+0x1f``) stand for,
    ``warnings`` what gcc warned of.
    """

    module: Module
    source: Source
    target: str
    release: str = ""
    kpmagic: str = ""
    compiler: str = ""
    seconds: float = 0.0
    digest: str = ""
    started: float = 0.0
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    maps: bytes = b""


@dataclass(frozen=True)
class PeerPast:
    """A script's run by another tracer that is over, without its lines.

    ``said`` is what the tool wrote on its error output; ``maps`` are its maps and losses, as JSON.
    """

    script: Script
    source: Source
    target: str
    release: str = ""
    kpmagic: str = ""
    started: float = 0.0
    start_seconds: float = 0.0
    said: str = ""
    outcome: Outcome = field(default_factory=Outcome)
    maps: bytes = b""


AnyPast = Past | ModulePast | PeerPast
KINDS: dict[type[AnyPast], str] = {Past: "probe", ModulePast: "module", PeerPast: "script"}


AnyOther = TypeVar("AnyOther", Past, ModulePast, PeerPast)


def to_metadata(past: AnyPast) -> dict[str, str]:
    """Return ``past`` as names and texts."""
    kind = KINDS[type(past)]
    plain = to_plain(past)
    del plain["maps"]
    run = json.dumps(plain, separators=(",", ":"), ensure_ascii=True)
    maps = base64.b64encode(past.maps).decode()
    return {KEY_FORMAT: str(FORMATS[kind]), KEY_KIND: kind, KEY_RUN: run, KEY_MAPS: maps,
            KEY_DIGEST: _digest(run, maps)}  # fmt: skip


def from_metadata(metadata: Mapping[str, str]) -> AnyPast:
    """Return what `to_metadata` made. Raises RecordingError."""
    if not is_ours(metadata):
        raise RecordingError("it is not a recording of kpmagic", hint=HINT)
    _check_format(metadata[KEY_FORMAT])
    run, maps = metadata.get(KEY_RUN, ""), metadata.get(KEY_MAPS, "")
    if _digest(run, maps) != metadata.get(KEY_DIGEST):
        raise RecordingError("it is damaged: its description is not what was written")
    try:
        plain = json.loads(run)
        blob = base64.b64decode(maps, validate=True)
    except (ValueError, RecursionError, binascii.Error) as error:
        raise RecordingError(f"it is damaged: {error}") from None
    if not isinstance(plain, dict):
        raise RecordingError("it is damaged: its description is not an object")
    plain.pop("maps", None)
    kind = metadata.get(KEY_KIND)
    if kind == "module":
        return _with_source(from_plain(ModulePast, plain, "its description"))
    if kind == "script":
        script = _with_source(from_plain(PeerPast, plain, "its description"))
        return replace(script, maps=blob)
    return _checked(replace(from_plain(Past, plain, "its description"), maps=blob))


def _with_source(past: AnyOther) -> AnyOther:
    if past.source.main not in past.source.files:
        raise RecordingError("it is damaged: its source is not there")
    return past


def _checked(past: Past) -> Past:
    """Return ``past`` if everybody else may rely on it. Raises RecordingError."""
    _with_source(past)
    if not past.plan.sites or not past.plan.probe.specs or not past.source.programs:
        raise RecordingError("it is damaged: it says of no place where it was made")
    if not 0 < past.plan.cpus <= MOST_CPUS:
        raise RecordingError(f"it is damaged: {past.plan.cpus} processors")
    for name, kind in INFO.items():
        if name in past.info:
            from_plain(kind, past.info[name], name)
    if "busy_ns" in past.outcome.counters:
        from_plain(Cost, dict(past.outcome.counters), "its counters")
    return past


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether they are texts of `to_metadata`, of whatever version."""
    return KEY_FORMAT in metadata


def _digest(run: str, maps: str) -> str:
    return hashlib.sha256(f"{run}\0{maps}".encode(errors="surrogatepass")).hexdigest()


def _check_format(text: str) -> None:
    number = int(text) if text.isdigit() and len(text) < 9 else 0
    newest = max(FORMATS.values())
    if number > newest:
        raise RecordingError(
            f"it was made by a newer kpmagic (format {number}, this one reads up to {newest})",
            hint=NEWER_HINT,
        )
    if number < 1:
        raise RecordingError(f"it has the format {text[:20]!r}, which there never was")
