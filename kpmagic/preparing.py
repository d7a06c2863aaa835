# SPDX-License-Identifier: MIT
"""What was asked → a run that is built and not started: of a probe, a module, a tracer's script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import build
from .aiming import aim, with_notes_on_stacks
from .cell.script import Script
from .cell.syntax import parse_spec
from .channel.connection import Connection
from .connecting import SANDBOX
from .errors import AttachError, CellError, NotPermitted
from .gathering import facts_for, function_names
from .model import Artifact, Module, Options, Plan, Probe, Site
from .modules.run import ModuleRun
from .peers.run import PeerRun
from .resolve import resolve
from .run import Run
from .session import session
from .userland.images import Images
from .userland.memory import Memory
from .view.card import CARD

if TYPE_CHECKING:
    from .kernel.facts import KernelFacts


def prepare(asked: Probe, connection: Connection) -> Run:
    """Return the Run of a probe, built and not started. Raises SymbolError, BuildError, …"""
    prepared = connection.prepared(asked)
    if prepared is not None:
        return Run(connection, *prepared, CARD)
    _check_backend(asked)
    if asked.options.backend == "kmod":
        _check_takes_modules(asked.options, connection)
    known = connection.facts(session.progress)
    facts = facts_for(asked, known, connection.read, session.progress)
    plan = resolve(asked, facts)
    if asked.options.mechanism:
        plan = aim(plan, facts, connection)
    if asked.options.backend == "kmod":
        artifact = _as_module(plan, facts, connection)
    else:
        artifact = build.build(plan, facts)
    if "kstack" in artifact.source.kinds:
        plan = with_notes_on_stacks(plan, facts, connection)
    memory = Memory(Images(connection.read).name)
    names = function_names(facts, memory.name)
    return Run(connection, plan, artifact, CARD, look_up=names, memory=memory)


def _check_backend(asked: Probe) -> None:
    """Refuse what only another backend can do. Raises CellError."""
    chosen = asked.options
    if chosen.maxactive and (chosen.backend != "kmod" or asked.kind != "kretprobe"):
        raise CellError("--maxactive is for return probes that are a module",
                        hint="%%kretprobe … --backend kmod --maxactive N")  # fmt: skip
    if chosen.max_overhead and chosen.backend == "bcc":
        raise CellError("--max-overhead: BCC's programs do not tell what they cost",
                        hint="--backend bpf and --backend kmod do")  # fmt: skip


def _check_takes_modules(chosen: Options, connection: Connection) -> None:
    """Refuse a module that this kernel would not take, or that may be its end unasked."""
    if connection.name != SANDBOX and not chosen.yes_on_this_kernel:
        raise NotPermitted(
            f"a module would go into the kernel that {connection.name} runs on, and a mistake in "
            "it ends that machine",
            hint="%kp target sandbox, or spell it out: --yes-on-this-kernel",
        )
    connection.check_modules()


def _as_module(plan: Plan, facts: KernelFacts, connection: Connection) -> Artifact:
    from .modules.build import build_probe, headers_of

    folder = headers_of(connection.target, connection.release, session.progress)
    session.progress("building the probe's module")
    return build_probe(plan, build.compiler_of(plan, facts), folder)


def prepare_module(asked: Module, connection: Connection) -> ModuleRun:
    """Return the run of a module, built and not loaded. Raises BuildError, TargetError, …"""
    from .modules.build import build_module, headers_of
    from .modules.source import rename
    from .view.module_card import MODULE_CARD

    prepared = connection.prepared_module(asked)
    if prepared is not None:
        past, artifact = prepared
        run = ModuleRun(connection, past.module, artifact, past.release, MODULE_CARD)
        run.build_warnings = list(past.warnings)
        return run
    connection.require_kernel()
    _check_takes_modules(asked.options, connection)
    if asked.options.rename:
        facts = connection.facts(session.progress)
        asked = rename(asked, facts.symbols.__contains__)
    folder = headers_of(connection.target, connection.release, session.progress)
    _check_name(asked.name, connection)
    session.progress(f"building {asked.name}.ko")
    artifact, warnings = build_module(asked, folder)
    run = ModuleRun(connection, asked, artifact, connection.release, MODULE_CARD,
                    exists=lambda name: name in connection.facts(session.progress).symbols)
    run.build_warnings = warnings
    return run


def _check_name(name: str, connection: Connection) -> None:
    """Raise AttachError where a module has the name that this session will not replace."""
    if any(run.name == name and run.connection is connection and run.state == "running"
           for run in session.runs()):  # fmt: skip
        return
    why = connection.request("taken", name=name)[0]["why"]
    if why:
        raise AttachError(f"module {name!r}: {why}",
                          hint="choose another name, or take that one out: rmmod")  # fmt: skip


def prepare_script(asked: Script, connection: Connection) -> PeerRun:
    """Return the run of a script, not started. Raises CellError, SymbolError, TargetError."""
    from .view.peer_card import PEER_CARD

    artifact = connection.prepared_script(asked)
    if artifact is not None:
        return PeerRun(connection, asked, PEER_CARD, artifact=artifact)
    connection.require_kernel()
    settings = _bcc_settings(asked, connection) if asked.tool == "bcc" else None
    return PeerRun(connection, asked, PEER_CARD, settings)


def _bcc_settings(asked: Script, connection: Connection) -> dict[str, Any]:
    """Return what agent/bcc.py is told. Raises CellError, SymbolError."""
    from .peers.dialect import places_of
    from .peers.settings import of_script

    wanted = places_of(asked)
    facts = connection.facts(session.progress)
    places = [(each, _sites(each.spec, asked.options, facts)) for each in wanted]
    compiler = build.compiler_for(facts.btf_file, facts.build_id)
    return of_script(asked, places, compiler.headers.directory)


def _sites(spec: str, options: Options, facts: KernelFacts) -> tuple[Site, ...]:
    return resolve(Probe("kprobe", (parse_spec(spec),), None, options), facts).sites
