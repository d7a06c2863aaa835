# SPDX-License-Identifier: MIT
"""What ``%kp show NAME --stage …`` prints of a kernel module."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable

from ..errors import CellError, MissingDependency
from ..model import Artifact
from .run import ModuleRun


def plan(run: ModuleRun) -> str:
    """What goes where, and for how long."""
    lines = [f"module {run.name}.ko for {run.info['kernel_release']}"]
    lines += [f"  {run.info['note']}"] * bool(run.info["note"])
    lines += [f"  {name} = {value!r}" for name, value in run.info["options"].items()]
    return "\n".join(lines)


def source(run: ModuleRun) -> str:
    """The C source, as it was compiled."""
    return run.source


def build(run: ModuleRun) -> str:
    """What compiled it, what came out, and what gcc warned of."""
    return "\n".join([built(run.artifact), *run.build_warnings])


def built(artifact: Artifact) -> str:
    """Return what compiled a module, and what came out."""
    how = f"in {artifact.seconds:.2f} s" if artifact.seconds else "kept from an earlier build"
    return f"{artifact.compiler}, {how}\n{len(artifact.object)} bytes, {artifact.digest}"


def makefile_of(artifact: Artifact) -> str:
    """Return the Makefile that a module was built with. Raises CellError."""
    if "Makefile" not in artifact.source.files:
        raise CellError("only a kernel module has a Makefile", hint="--backend kmod makes one")
    return artifact.source.files["Makefile"]


def makefile(run: ModuleRun) -> str:
    """The generated Makefile."""
    return makefile_of(run.artifact)


def instructions(artifact: Artifact, name: str) -> str:
    """Return a module's machine code with the lines it comes from. Raises MissingDependency."""
    program = shutil.which("objdump")
    if program is None:
        raise MissingDependency("no objdump to show instructions with",
                                hint="sudo apt-get install binutils")  # fmt: skip
    with tempfile.NamedTemporaryFile(suffix=".ko") as file:
        file.write(artifact.object)
        file.flush()
        done = subprocess.run([program, "-d", "-r", "-l", "--no-show-raw-insn", file.name],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False)  # fmt: skip
    return (done.stdout or done.stderr).replace(file.name, f"{name}.ko")


def asm(run: ModuleRun) -> str:
    """The machine code."""
    return instructions(run.artifact, run.name)


def log(run: ModuleRun) -> str:
    """What went wrong, and what the agent remarked; the kernel's log is ``df()``."""
    lines = [str(run.failure)] * bool(run.failure) + [run.error] * bool(run.error)
    return "\n".join(lines + run.remarks) or "nothing; the kernel's own log is NAME.df()"


MODULE_STAGES: dict[str, Callable[[ModuleRun], str]] = {
    "plan": plan,
    "source": source,
    "makefile": makefile,
    "build": build,
    "asm": asm,
    "log": log,
}
