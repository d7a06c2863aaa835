# SPDX-License-Identifier: MIT
"""Plan → Artifact: analysed, rendered, compiled; an object is compiled once per content."""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import threading
import time
from pathlib import Path

from kpmagic import cache
from kpmagic.analysis.analyse import analyse
from kpmagic.backends import origin
from kpmagic.backends.base import Backend
from kpmagic.backends.bcc import Bcc, maps, whole
from kpmagic.backends.bpf import Bpf
from kpmagic.backends.handlers import CELL
from kpmagic.compiler.client import Compiler
from kpmagic.compiler.toolchain import bpf_directory, headers
from kpmagic.errors import BuildError, CellError
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.pruned import packed
from kpmagic.model import Artifact, Plan, Probe, Source
from kpmagic.whole import keep, kept

BACKENDS: dict[str, Backend] = {"bpf": Bpf(), "bcc": Bcc()}
FRAME = ("frame.bpf.h", "who.bpf.h", "chosen.h")  # what is compiled with each handler

_compilers: dict[str, Compiler] = {}
_lock = threading.Lock()


@atexit.register
def close_compilers() -> None:
    """End the compiler processes; they would end with this one anyway, when their input does."""
    while _compilers:
        _compilers.popitem()[1].close()


def compiler_for(btf_file: Path, build_id: str, base: Path | None = None) -> Compiler:
    """Return the running compiler that knows a kernel's types; the first call takes a second.

    A module's types stand on the kernel's, in ``base``. Raises MissingDependency and BuildError.
    """
    with _lock:
        if build_id in _compilers and not _compilers[build_id].headers.there:
            _compilers.pop(build_id).close()  # somebody has emptied the cache
        if build_id not in _compilers:
            compiler = Compiler(headers(btf_file, build_id, cache.directory(), base))
            try:
                compiler.start()
            except BaseException:
                compiler.close()
                raise
            _compilers[build_id] = compiler
        return _compilers[build_id]


def build(plan: Plan, facts: KernelFacts) -> Artifact:
    """Return the object of ``plan``. Raises CellError, BuildError and MissingDependency."""
    compiler = compiler_of(plan, facts)
    started = time.perf_counter()
    source = render(plan, compiler)
    if plan.probe.options.backend == "bcc":
        return for_bcc(plan, source, compiler, started)
    digest = _digest(source, compiler)
    path = compiler.headers.directory / "objects" / digest
    object_ = kept(path)
    if object_ is not None:
        return Artifact(source, object_, compiler.version, 0.0, digest)
    object_ = compile_source(source, compiler, plan.probe)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    keep(path, object_)
    return Artifact(source, object_, compiler.version, time.perf_counter() - started, digest)


def for_bcc(plan: Plan, source: Source, compiler: Compiler, started: float) -> Artifact:
    """Return an artifact whose payload is source: BCC compiles and loads in one, on the target."""
    text = whole(source, bpf_directory())
    parts = {
        "source": text,
        "types": packed(compiler.headers.directory / "vmlinux.h", text),
        "cflags": ["-Wno-macro-redefined", "-Wno-unused-function"],
        "maps": [vars(each) for each in maps(source, plan.cpus)],
    }
    payload = json.dumps(parts, sort_keys=True).encode()
    digest = hashlib.sha256(payload).hexdigest()
    return Artifact(source, payload, "BCC's clang", time.perf_counter() - started, digest)


def compiler_of(plan: Plan, facts: KernelFacts) -> Compiler:
    """Return the compiler that knows the types of the plan's sites: one module's at most."""
    for site in plan.sites:
        if site.module and site.function is not None:
            types = facts.module_types[site.module]
            name = f"{facts.build_id}-{site.module}-{types.digest}"
            return compiler_for(types.file, name, facts.btf_file)
    return compiler_for(facts.btf_file, facts.build_id)


def render(plan: Plan, compiler: Compiler) -> Source:
    """Return the generated source of ``plan``. Raises CellError and BuildError."""
    name = plan.probe.options.backend
    if name not in BACKENDS:
        raise CellError(
            f"no backend '{name}' in this version", hint=f"--backend takes {', '.join(BACKENDS)}"
        )
    return BACKENDS[name].render(analyse(plan, compiler))


def compile_source(source: Source, compiler: Compiler, probe: Probe) -> bytes:
    """Return the object of rendered source. Raises BuildError at the line of the cell."""
    try:
        return compiler.compile(source.text)
    except BuildError as error:
        raise _at_the_cell(error, source, probe) from None


def _at_the_cell(error: BuildError, source: Source, probe: Probe) -> BuildError:
    """Return what clang's code generator said as one sentence at its place in the cell."""
    words = next((line for line in error.message.splitlines() if "error:" in line), error.message)
    sentence = re.sub(r"^.*?error: (error in backend: )?", "", words)
    found = re.search(rf"\b{CELL}:(\d+):(\d*)", error.message)
    place = found and origin.place(probe, source, int(found[1]), int(found[2] or 0))
    return BuildError(sentence, hint=error.hint, place=place)


def _digest(source: Source, compiler: Compiler) -> str:
    """Name an object by all that it is made from."""
    frame = [(bpf_directory() / name).read_text() for name in FRAME]
    parts = (source.text, *frame, *compiler.headers.arguments, compiler.version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
