# SPDX-License-Identifier: MIT
"""C source → a kernel module, by Kbuild against the target's own headers; once per content."""

from __future__ import annotations

import hashlib
import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import cache
from ..analysis.analyse import analyse
from ..backends import origin
from ..backends.handlers import CELL
from ..backends.kmod import NAME, Kmod
from ..backends.kmod_checks import check, warnings
from ..cell.text import narrow, widen
from ..compiler import kbuild
from ..compiler.client import Compiler
from ..compiler.kbuild import Diagnostic, Kbuild, KbuildFailed
from ..compiler.toolchain import bpf_directory
from ..errors import BuildError, MissingDependency, Place, TargetError
from ..model import Artifact, Module, Plan, Source
from ..whole import keep, kept

if TYPE_CHECKING:
    from ..targets.base import Progress, Target

LOCAL = "local"
SYSTEM = Path("/lib/modules")
WARNING_FLAG = re.compile(r" \[-W[^\]]*\]$")


class Cell(Protocol):
    """Where a line of source that is built comes from."""

    def __call__(self, line: int, column: int = 0) -> Place:
        """Return the place in the cell."""


def headers_of(target: Target, release: str, progress: Progress) -> Path:
    """Return the build folder of a target's kernel. Raises TargetError, MissingDependency."""
    from ..targets import kernel_headers
    from ..targets.kernels import Kernel

    if target.name == LOCAL:
        return _own_headers(release)
    kernel = getattr(target, "kernel", None)
    if not isinstance(kernel, Kernel):
        raise TargetError(
            f"no headers are known for the kernel {release!r} of {target.name}",
            hint="modules can be built for the sandbox: %kp target sandbox",
        )
    return kernel_headers.find(kernel, progress)


def _own_headers(release: str) -> Path:
    """Return the build folder of the kernel that this machine runs on."""
    folder = SYSTEM / release / "build"
    if not (folder / "Makefile").exists():
        raise MissingDependency(f"the headers of {release} are not installed: no {folder}",
                                hint=f"sudo apt-get install linux-headers-{release}")  # fmt: skip
    from ..targets.kernel_headers import release_of

    found = release_of(folder)
    if found != release:
        raise MissingDependency(
            f"{folder} has the headers of kernel {found or 'nothing that was built'!r}, and "
            f"{release!r} runs",
            hint=f"sudo apt-get install --reinstall linux-headers-{release}",
        )
    return folder.resolve()


def makefile(name: str) -> str:
    """Return the Makefile of a module that is one C file."""
    return f"# SPDX-License-Identifier: GPL-2.0-only OR MIT\nobj-m := {name}.o\n"


def source_of(module: Module) -> Source:
    """Return a %%kmodule cell as source to be built."""
    main = f"{module.name}.c"
    files = {main: module.source, "Makefile": makefile(module.name)}
    return Source(files, main, (), 0, (), ())


def build_module(module: Module, folder: Path) -> tuple[Artifact, list[str]]:
    """Return a %%kmodule cell as a module, and as text what handlers may not do and gcc's warnings.

    Raises BuildError at the line of the cell, MissingDependency.
    """
    main = f"{module.name}.c"
    artifact, said = build(source_of(module), module.name, folder, main, module.place)
    return artifact, [*warnings(module), *said]


def source_of_probe(plan: Plan, compiler: Compiler) -> Source:
    """Return a probe as a module's source. Raises CellError, BuildError."""
    check(plan.probe)
    return Kmod(bpf_directory()).render(analyse(plan, compiler))


def build_probe(plan: Plan, compiler: Compiler, folder: Path) -> Artifact:
    """Return a probe as a module. Raises CellError, BuildError, MissingDependency."""
    types = compiler.headers.directory
    source = source_of_probe(plan, compiler)
    cell = partial(origin.place, plan.probe, source)
    return build(source, NAME, folder, CELL, cell, types)[0]


def build(
    source: Source,
    name: str,
    folder: Path,
    file: str,
    cell: Cell,
    types: Path | None = None,
) -> tuple[Artifact, list[str]]:
    """Return ``source`` as the module ``name``, and what gcc warned of in ``file``.

    ``types`` is the folder of the kernel's vmlinux.h, where the source needs it. ``file`` is what
    diagnostics call the user's text, and ``cell`` where its lines stand.
    Raises BuildError, MissingDependency.
    """
    tools = kbuild.kbuild_in(folder)
    started = time.perf_counter()
    digest = _digest(source, name, tools, types)
    path = cache.directory("modules") / digest
    found = _read(path)
    seconds = 0.0
    if found is None:
        try:
            built = kbuild.build(tools, name, source.files, types)
        except KbuildFailed as failure:
            raise _at_the_cell(failure, file, cell, source) from None
        found = built.object, _warnings(built.log, file, cell)
        _write(path, *found)
        seconds = time.perf_counter() - started
    object_, warnings = found
    return Artifact(source, object_, f"gcc {tools.version}", seconds, digest), warnings


def _digest(source: Source, name: str, tools: Kbuild, types: Path | None) -> str:
    """Name a module by all that it is made from."""
    parts = [name, str(tools.folder), tools.version, *tools.settings, str(types)]
    parts += [word for item in sorted(source.files.items()) for word in item]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _warnings(log: str, file: str, cell: Cell) -> list[str]:
    found = [each for each in kbuild.diagnostics(log) if each.file == file and not each.is_error]
    return [f"{cell(each.line)}: {each.text}".replace("\n", " ") for each in found]


def _at_the_cell(failure: KbuildFailed, file: str, cell: Cell, source: Source) -> BuildError:
    """Return what gcc or modpost refused, at its place in the cell."""
    errors = [each for each in kbuild.diagnostics(failure.log) if each.is_error]
    here = [each for each in errors if each.file == file] or errors
    if here:
        place = _place(here[0], cell, source.files.get(file)) if here[0].file == file else None
        return _refused_by_gcc(here, place)
    unknown = kbuild.undefined(failure.log)
    if unknown:
        name = unknown[0]
        return BuildError(
            f"{name!r} is not there for modules: this kernel does not export it",
            hint="a module may call exported functions only: EXPORT_SYMBOL in the kernel's source",
            place=_first_use(name, source, cell) if file == source.main else None,
        )
    return BuildError(failure.message)


def _place(found: Diagnostic, cell: Cell, text: str | None) -> Place:
    """Return where gcc found something; ``text`` is the user's, where it was given as it is.

    gcc counts bytes, as `origin.place` does, and a user characters.
    """
    line = "" if text is None else narrow("".join(text.split("\n")[found.line - 1 : found.line]))
    before = line[: max(found.column - 1, 0)]
    return cell(found.line, found.column - len(before) + len(widen(before)))


def _refused_by_gcc(errors: list[Diagnostic], place: Place | None) -> BuildError:
    first = errors[0]
    message = WARNING_FLAG.sub("", first.text)
    if place is None:
        message = f"{first.file}:{first.line}: {message}"
    more = f"; {len(errors) - 1} more" if len(errors) > 1 else ""
    return BuildError(message + more, place=place)


def _first_use(name: str, source: Source, cell: Cell) -> Place | None:
    match = re.search(rf"\b{re.escape(name)}\b", source.text)
    if match is None:
        return None
    begin = source.text.rfind("\n", 0, match.start()) + 1
    return cell(source.text.count("\n", 0, match.start()) + 1, match.start() - begin + 1)


def _read(path: Path) -> tuple[bytes, list[str]] | None:
    """Return a kept module and its warnings, None if there is none or it is damaged."""
    content = kept(path)
    if content is None:
        return None
    text, _, object_ = content.partition(b"\0")
    return object_, text.decode().splitlines()


def _write(path: Path, object_: bytes, warnings: list[str]) -> None:
    text = "\n".join(warnings).replace("\0", "").encode("utf-8", "replace")
    keep(path, text + b"\0" + object_)
