# SPDX-License-Identifier: MIT
"""The path from a Probe to a Run as plain functions; the magics and the shell call these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import answers, build, cache
from .aiming import aim
from .answers import Answer, failure_of, of_module, of_probe, of_script
from .cell.script import Script, script_from_keywords
from .cell.syntax import parse_spec, probe_from_keywords
from .channel.connection import Connection
from .errors import AttachError, CellError, KpmagicError, NotPermitted
from .gathering import facts_for, function_names
from .model import Artifact, Kind, Module, Options, Plan, Probe, Site
from .modules.run import ModuleRun
from .modules.saving import record as record_module
from .modules.source import module_from_keywords
from .peers.run import PeerRun
from .peers.saving import record as record_script
from .resolve import resolve
from .run import Run
from .saving import record_dry_run
from .session import SANDBOX, recorder, session
from .userland.images import Images
from .userland.memory import Memory
from .view.card import CARD

if TYPE_CHECKING:
    from .kernel.facts import KernelFacts

Bind = Callable[[Run], None]
BindModule = Callable[[ModuleRun], None]
BindPeer = Callable[[PeerRun], None]


def probe(
    symbol: str | Iterable[str],
    body: str | None = None,
    *,
    target: Connection | str | None = None,
    **options: Any,
) -> Run:
    """Probe the entry of ``symbol`` (or ``symbol+offset``, …) with the C statements of ``body``.

    Without a body every argument becomes a column. ``target`` is a connection, or the default.
    The options are those of %%kprobe: ``command`` (--while), ``duration`` (--for), ``follow``,
    ``max_events``, ``max_time``, ``where``, ``pid``, ``comm``, ``cpu``, ``sample``, ``defines``,
    ``backend``, ``buffer``, ``name``, ``dry_run``. With ``command`` or ``duration`` it returns
    when the run has ended, otherwise at once. Raises KpmagicError.
    """
    return _from_keywords("kprobe", symbol, body, target, options)


def retprobe(
    symbol: str | Iterable[str],
    body: str | None = None,
    *,
    target: Connection | str | None = None,
    **options: Any,
) -> Run:
    """Probe the return of ``symbol``: `probe` with ``retval``, ``latency`` (ns) in the body."""
    return _from_keywords("kretprobe", symbol, body, target, options)


def module(
    name: str, source: str, *, target: Connection | str | None = None, **options: Any
) -> ModuleRun:
    """Build the C ``source`` of a whole kernel module called ``name``, load it, read its log.

    The options are those of %%kmodule: ``command`` (--while), ``duration`` (--for), ``max_time``,
    ``rename``, ``dry_run``. With ``command`` or ``duration`` it returns when the module is out
    again, otherwise at once. Raises KpmagicError.
    """
    asked = module_from_keywords(name, source, options)
    run = start_module(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def bpftrace(script: str, *, target: Connection | str | None = None, **options: Any) -> PeerRun:
    """Run a bpftrace ``script`` with the target's own bpftrace.

    The options are those of %%bpftrace: ``command`` (--while), ``duration`` (--for), ``max_time``,
    ``name``, ``dry_run``. With ``command`` or ``duration`` it returns when the run has ended,
    otherwise when the probes are there. Raises KpmagicError.
    """
    asked = script_from_keywords("bpftrace", script, options)
    run = start_script(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def bcc(
    source: str,
    *places: str,
    target: Connection | str | None = None,
    **options: Any,
) -> PeerRun:
    """Compile ``source``, in BCC's dialect of C, with the target's own BCC and attach it.

    ``places`` are those of %%bcc: ``"vfs_read"`` for its one function, ``"do_entry=vfs_read"``,
    ``"do_return=vfs_read%return"``; functions called ``kprobe__SYMBOL`` need none. The options
    are those of `bpftrace`, and ``defines``. Raises KpmagicError.
    """
    asked = script_from_keywords("bcc", source, options, places)
    run = start_script(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def _from_keywords(
    kind: Kind,
    symbol: str | Iterable[str],
    body: str | None,
    target: Connection | str | None,
    options: dict[str, Any],
) -> Run:
    asked = probe_from_keywords(kind, symbol, body, options)
    run = start(asked, session.connection(target))
    return run.finish() if blocks(asked) else run


def blocks(asked: Probe) -> bool:
    """Whether the run ends by itself with a time or a command."""
    return ends_itself(asked.options)


def ends_itself(options: Options) -> bool:
    """Whether a time or a command ends the run."""
    return options.duration is not None or options.command is not None


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


def start(asked: Probe, connection: Connection, bind: Bind | None = None) -> Run:
    """Build and attach a probe; ``bind`` is given the Run before it starts.

    One of the same name is replaced: the new one runs before the old one is stopped.
    """
    where = recorder(connection)
    try:
        with cache.room():
            run = prepare(asked, connection)
        if bind is not None:
            bind(run)
        if asked.options.dry_run:
            if where is not None:
                record_dry_run(run, where)
            return run
        _start(run)
    except KpmagicError as error:
        if where is not None:
            answers.add(where, Answer(of_probe(asked), failure=failure_of(error)))
        raise
    replaced = session.add(run)
    if replaced is not None:
        replaced.stop("replaced")
    return run


def _start(run: Run | PeerRun) -> None:
    try:
        run.start()
    except KpmagicError:
        session.failed(run)
        raise


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
    run = ModuleRun(connection, asked, artifact, connection.release, MODULE_CARD)
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


def start_module(
    asked: Module, connection: Connection, bind: BindModule | None = None
) -> ModuleRun:
    """Build and load a module; ``bind`` is given the run before it starts.

    One of the same name that this session has loaded is removed first.
    """
    where = recorder(connection)
    try:
        run = prepare_module(asked, connection)
        if bind is not None:
            bind(run)
        if asked.options.dry_run:
            if where is not None:
                record_module(run, where)
            return run
        replaced = session.add(run)
        if replaced is not None:
            replaced.stop("replaced")
        _load(run, connection)
    except KpmagicError as error:
        if where is not None:
            answers.add(where, Answer(of_module(asked), failure=failure_of(error)))
        raise
    return run


def _load(run: ModuleRun, connection: Connection) -> None:
    from .channel.refusals import ModuleRefusal
    from .modules.refusals import explain

    try:
        run.start()
    except ModuleRefusal as refusal:
        exists = connection.facts(session.progress).symbols.__contains__
        run.failure = explain(refusal, run.module, exists)
        raise run.failure from None


def start_script(asked: Script, connection: Connection, bind: BindPeer | None = None) -> PeerRun:
    """Hand a script to another tracer; ``bind`` is given the run before it starts.

    One of the same name is replaced: the new one runs before the old one is stopped.
    """
    where = recorder(connection)
    try:
        run = _prepared_script(asked, connection)
        if bind is not None:
            bind(run)
        if asked.options.dry_run:
            if where is not None:
                record_script(run, where)
            return run
        session.progress(f"{asked.tool} compiles and attaches")
        _start(run)
    except KpmagicError as error:
        if where is not None:
            answers.add(where, Answer(of_script(asked), failure=failure_of(error)))
        raise
    replaced = session.add(run)
    if replaced is not None:
        replaced.stop("replaced")
    return run


def _prepared_script(asked: Script, connection: Connection) -> PeerRun:
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
