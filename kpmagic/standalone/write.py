# SPDX-License-Identifier: MIT
"""``%kp export NAME --as LANGUAGE [PATH]``: a folder or a file that needs no kpmagic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..cell.syntax import suggestion
from ..compiler.client import Compiler
from ..errors import CellError, KpmagicError
from ..modules.build import source_of_probe
from ..run import Run
from . import bcc, bpftrace, libbpf, module, tracefs


@dataclass(frozen=True)
class Kernel:
    """What source is written with: the kernel's types, and where the folder of its headers is."""

    compiler: Compiler
    build: Callable[[], Path]

    @property
    def types(self) -> Path:
        """The folder of its vmlinux.h."""
        return self.compiler.headers.directory


Write = Callable[[Run, Kernel, str], dict[str, str]]
EXECUTABLE = 0o755


def of_bpftrace(run: Run, kernel: Kernel, name: str) -> dict[str, str]:
    """Return the script as one file."""
    return {f"{name}.bt": bpftrace.script(run.plan, run.artifact.source)}


def of_bcc(run: Run, kernel: Kernel, name: str) -> dict[str, str]:
    """Return the script as one file. Raises CellError."""
    _check_share(run)
    types = (kernel.types / "vmlinux.h").read_text(encoding="utf-8")
    return {f"{name}.py": bcc.script(run.plan, kernel.compiler, types, kernel.build)}


def of_tracefs(run: Run, kernel: Kernel, name: str) -> dict[str, str]:
    """Return the script as one file."""
    return {f"{name}.sh": tracefs.script(run.plan, run.artifact.source, f"{name}.sh")}


def of_libbpf(run: Run, kernel: Kernel, name: str) -> dict[str, str]:
    """Return the files of a folder. Raises CellError."""
    if run.options.backend != "bpf":
        raise CellError(f"{run.name} was made with --backend {run.options.backend}",
                        hint="--as libbpf writes cells of --backend bpf")  # fmt: skip
    _check_share(run)
    made = libbpf.files(run.plan, run.artifact, kernel.types, name)
    return {f"{name}/{path}": text for path, text in made.items()}


def of_module(run: Run, kernel: Kernel, name: str) -> dict[str, str]:
    """Return the files of a folder, whichever backend the cell had. Raises CellError."""
    _check_share(run)
    probe = replace(run.plan.probe, options=replace(run.options, backend="kmod"))
    plan = replace(run.plan, probe=probe)
    source = source_of_probe(plan, kernel.compiler)
    made = module.files(plan, source, kernel.types, name)
    return {f"{name}/{path}": text for path, text in made.items()}


def _check_share(run: Run) -> None:
    """Refuse what the agent does while a run goes on. Raises CellError."""
    if run.options.max_overhead:
        raise CellError("--max-overhead has no equivalent in a program of its own",
                        hint="run the cell without it, and export that")  # fmt: skip


LANGUAGES: dict[str, Write] = {"libbpf": of_libbpf, "module": of_module, "bpftrace": of_bpftrace,
                               "bcc": of_bcc, "tracefs": of_tracefs}  # fmt: skip


def export(run: Run, language: str, folder: Path, kernel: Kernel) -> Path:
    """Write a probe's cell into ``folder``; return the file, or the folder that it became.

    Raises CellError for what the language has no equivalent for, and where something is there.
    """
    if language not in LANGUAGES:
        near = suggestion(language, LANGUAGES) or f"there are {', '.join(LANGUAGES)}"
        raise CellError(f"no way to export {language!r}", hint=near)
    name = re.sub(r"\W+", "_", run.name).strip("_") or "probe"
    made = LANGUAGES[language](run, kernel, name)
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
        raise KpmagicError(f"cannot write {str(first)!r}: {error.strerror}",
                           hint="name another folder behind --as LANGUAGE") from None  # fmt: skip
    return first
