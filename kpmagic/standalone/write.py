# SPDX-License-Identifier: MIT
"""``%kp export NAME --as LANGUAGE [PATH]``: a folder or a file that needs no kpmagic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..cell.syntax import suggestion
from ..compiler.client import Compiler
from ..errors import CellError, KpmagicError
from ..modules.build import source_of_probe
from ..run import Run
from . import bpftrace, libbpf, module, tracefs

Write = Callable[[Run, Compiler, str], dict[str, str]]
EXECUTABLE = 0o755


def of_bpftrace(run: Run, compiler: Compiler, name: str) -> dict[str, str]:
    """Return the script as one file."""
    return {f"{name}.bt": bpftrace.script(run.plan, run.artifact.source)}


def of_tracefs(run: Run, compiler: Compiler, name: str) -> dict[str, str]:
    """Return the script as one file."""
    return {f"{name}.sh": tracefs.script(run.plan, run.artifact.source, f"{name}.sh")}


def of_libbpf(run: Run, compiler: Compiler, name: str) -> dict[str, str]:
    """Return the files of a folder. Raises CellError."""
    if run.options.backend != "bpf":
        raise CellError(f"{run.name} was made with --backend {run.options.backend}",
                        hint="--as libbpf writes cells of --backend bpf")  # fmt: skip
    _check_share(run)
    made = libbpf.files(run.plan, run.artifact, compiler.headers.directory, name)
    return {f"{name}/{path}": text for path, text in made.items()}


def of_module(run: Run, compiler: Compiler, name: str) -> dict[str, str]:
    """Return the files of a folder, whichever backend the cell had. Raises CellError."""
    _check_share(run)
    probe = replace(run.plan.probe, options=replace(run.options, backend="kmod"))
    plan = replace(run.plan, probe=probe)
    source = source_of_probe(plan, compiler)
    made = module.files(plan, source, compiler.headers.directory, name)
    return {f"{name}/{path}": text for path, text in made.items()}


def _check_share(run: Run) -> None:
    """Refuse what the agent does while a run goes on. Raises CellError."""
    if run.options.max_overhead:
        raise CellError("--max-overhead has no equivalent in a program of its own",
                        hint="run the cell without it, and export that")  # fmt: skip


LANGUAGES: dict[str, Write] = {"libbpf": of_libbpf, "module": of_module, "bpftrace": of_bpftrace,
                               "tracefs": of_tracefs}  # fmt: skip


def export(run: Run, language: str, folder: Path, compiler: Compiler) -> Path:
    """Write a probe's cell into ``folder``; return the file, or the folder that it became.

    Raises CellError for what the language has no equivalent for, and where something is there.
    """
    if language not in LANGUAGES:
        near = suggestion(language, LANGUAGES) or f"there are {', '.join(LANGUAGES)}"
        raise CellError(f"no way to export {language!r}", hint=near)
    name = re.sub(r"\W+", "_", run.name).strip("_") or "probe"
    made = LANGUAGES[language](run, compiler, name)
    first = folder / next(iter(made)).split("/")[0]
    if first.exists():
        raise CellError(f"{str(first)!r} is there already", hint="remove it, or name another place")
    try:
        for path, text in made.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                file.chmod(EXECUTABLE)
    except OSError as error:
        raise KpmagicError(f"cannot write {str(first)!r}: {error.strerror}") from None
    return first
