# SPDX-License-Identifier: MIT
"""What ``%kp show NAME --stage …`` prints: a probe at each step of its way."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable

from ..cell.syntax import suggestion
from ..errors import CellError, MissingDependency
from ..modules.run import ModuleRun
from ..modules.stages import MODULE_STAGES, makefile_of
from ..peers.run import PeerRun
from ..peers.stages import PEER_STAGES
from ..run import Run

OBJDUMP = ("llvm-objdump", *(f"llvm-objdump-{major}" for major in range(19, 13, -1)))


def stage(run: Run | ModuleRun | PeerRun, name: str) -> str:
    """Return one stage of a run as text. Raises CellError, MissingDependency."""
    if name not in STAGES:
        raise CellError(f"no stage {name!r}",
                        hint=suggestion(name, STAGES) or ", ".join(STAGES))  # fmt: skip
    if isinstance(run, ModuleRun):
        return MODULE_STAGES[name](run)
    if isinstance(run, PeerRun):
        return PEER_STAGES[name](run)
    return STAGES[name](run)


def plan(run: Run) -> str:
    """Where it goes, and with which options."""
    lines = [f"{run.plan.probe.kind} on {run.plan.release} ({run.plan.build_id})"]
    for site in run.plan.sites:
        lines.append(f"  {site.spec.text} → {site.symbol}+{site.offset:#x} at {site.address:#x}")
        lines += [f"    {site.note}"] * bool(site.note)
    lines += [f"  {name} = {value!r}" for name, value in run.info["options"].items()]
    return "\n".join(lines)


def source(run: Run) -> str:
    """The generated C."""
    return run.source


def makefile(run: Run) -> str:
    """The generated Makefile, of a probe that is a module."""
    return makefile_of(run.artifact)


def build(run: Run) -> str:
    """What compiled it, and what came out."""
    artifact = run.artifact
    how = f"in {artifact.seconds:.2f} s" if artifact.seconds else "kept from an earlier build"
    lines = [f"{artifact.compiler}, {how}", f"{len(artifact.object)} bytes, {artifact.digest}"]
    lines += [f"  program {each.program} → {each.symbol or hex(each.address)}"
              f"{' (return)' * each.is_return}" for each in artifact.source.programs]  # fmt: skip
    lines += [f"  aggregate {each.label}: {each.function} in map {each.map}"
              for each in artifact.source.aggregates]  # fmt: skip
    return "\n".join(lines)


def asm(run: Run) -> str:
    """The BPF instructions, with the lines they come from."""
    if not run.artifact.object.startswith(b"\x7fELF"):
        raise CellError("a recording keeps the source and not the object made from it",
                        hint="--stage source")  # fmt: skip
    program = next(filter(None, map(shutil.which, OBJDUMP)), None)
    if program is None:
        raise MissingDependency("no llvm-objdump to show instructions with",
                                hint="apt-get install llvm-19")  # fmt: skip
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(run.artifact.object)
        file.flush()
        done = subprocess.run([program, "-d", "-l", "--no-show-raw-insn", file.name],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False)  # fmt: skip
    return (done.stdout or done.stderr).replace(file.name, run.name)


def log(run: Run) -> str:
    """What verifier and agent had to say."""
    lines = [run.verifier_log.rstrip()] if run.verifier_log else []
    lines += run.remarks + [run.error] * bool(run.error)
    return "\n".join(lines) or "nothing: the verifier accepted it, and the agent had no remark"


STAGES: dict[str, Callable[[Run], str]] = {
    "plan": plan,
    "source": source,
    "makefile": makefile,
    "build": build,
    "asm": asm,
    "log": log,
}
