# SPDX-License-Identifier: MIT
"""The sandbox that is measured in, with the programs of guest/ built for it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kpmagic
from kpmagic.build import compiler_of
from kpmagic.compiler.toolchain import find_clang
from kpmagic.errors import TargetError

HERE = Path(__file__).parent
GUEST = HERE / "guest"
BUILT = HERE.parent / "build" / "bench"
CALLS = BUILT / "calls"


@dataclass(frozen=True)
class Workload:
    """What is used of guest/calls.c: ns of a call in the quickest batch, and of processor time."""

    quickest: float
    used: int

    @classmethod
    def of(cls, words: list[str]) -> Workload:
        """Take the words of its line."""
        return cls(float(words[0]), int(words[3]))


@dataclass(frozen=True)
class Timed:
    """A program's output; ns when it was started, and of processor time with its children's."""

    output: str
    started: int
    used: int


# Real systems randomize the addresses of programs; a sandbox does not, and QEMU then keeps what it
# has translated of a tracer's compiler from one start to the next, which no real machine does
RANDOMIZE = "/proc/sys/kernel/randomize_va_space"


class Machine:
    """A running sandbox. Everything in it ends with it."""

    def __init__(self, kernel: str = "6.1") -> None:
        BUILT.mkdir(parents=True, exist_ok=True)
        for name in ("calls", "timed"):
            source = str(GUEST / f"{name}.c")
            _run("gcc", "-O2", "-Wall", "-static", "-o", str(BUILT / name), source)
        self._kernel = kernel
        self.start()

    def start(self) -> None:
        """Start it, or start it anew when it is gone."""
        self.vm = kpmagic.connect("sandbox", kernel=self._kernel, memory="1G")
        self._bcc: Bcc | None = None
        self.shell(f"echo 2 >{RANDOMIZE}")

    def shell(self, command: str) -> str:
        """Run a command there; return what it printed. Raises RuntimeError."""
        said: list[str] = []
        code = self.vm.run(command, lambda stream, text: said.append(text))
        if code:
            raise RuntimeError(f"{command}: exit code {code}: {''.join(said)[-2000:]}")
        return "".join(said)

    def timed(self, command: str) -> Timed:
        """Run a program there and weigh it."""
        output = self.shell(f"{BUILT}/timed /tmp/took {command} && echo && cat /tmp/took")
        said, _, last = output.rstrip().rpartition("\n")
        return Timed(said, *map(int, last.split()))

    def bare(self, calls: int) -> Workload:
        """Run the workload without any probe."""
        return Workload.of(self.shell(f"{CALLS} {calls}").split())

    def floor(self) -> Path:
        """Return the hand-written program, built with this kernel's types."""
        target = BUILT / "floor.bpf.o"
        if not target.exists() or not (BUILT / "floor").exists():
            plan = kpmagic.probe("vfs_read", "emit();", target=self.vm, dry_run=True).plan
            headers = compiler_of(plan, self.vm.facts()).headers.directory
            _run(find_clang().program, "-target", "bpf", "-O2", "-g", "-mcpu=v3",
                 "-D__TARGET_ARCH_x86", "-DBPF_NO_PRESERVE_ACCESS_INDEX", "-I", str(headers), "-c",
                 str(GUEST / "floor.bpf.c"), "-o", str(target))  # fmt: skip
            _run("gcc", "-O2", "-Wall", "-o", str(BUILT / "floor"), str(GUEST / "floor.c"), "-lbpf")
        return target

    @property
    def bcc(self) -> Bcc:
        """BCC, compiled and waiting: started when it is first asked for."""
        if self._bcc is None:
            self._bcc = Bcc(self)
        return self._bcc

    def close(self) -> None:
        """End the sandbox."""
        self.vm.close()


class Bcc:
    """guest/bcc_tool.py in the sandbox, between two pipes.

    ``seconds`` are those from its start to attached.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        headers = _headers(machine)
        machine.shell(f"sh {GUEST}/give_headers.sh {headers} && mkfifo /tmp/asked /tmp/answered")
        tool = f"/usr/bin/python3 {GUEST}/bcc_tool.py {CALLS}"
        # open for both directions, so that neither pipe ends between two questions
        command = f"exec {tool} <>/tmp/asked 1<>/tmp/answered 2>/tmp/bcc.errors"
        threading.Thread(target=self._serve, args=(command,), daemon=True).start()
        said = machine.shell("timeout 300 head -n1 /tmp/answered").split()
        if not said or said[0] != "attached":
            raise RuntimeError(machine.shell("tail -n 20 /tmp/bcc.errors"))
        self.seconds = float(said[1])

    def _serve(self, command: str) -> None:
        with contextlib.suppress(TargetError):  # whoever waits for an answer learns of it
            self.machine.vm.run(command, lambda stream, text: None)

    def run(self, shape: str, output: str, calls: int) -> tuple[Workload, int, int, int]:
        """Return the workload, events delivered, lost as told, and processor time in ns."""
        asked = f"echo {shape} {output} {calls} >/tmp/asked; timeout 300 head -n1 /tmp/answered"
        words = self.machine.shell(asked).split()
        return Workload.of(words), int(words[4]), int(words[5]), int(words[6])


def _headers(machine: Machine) -> Path:
    """Return the kernel's headers where the guest sees them."""
    from kpmagic.modules.build import headers_of

    found = headers_of(machine.vm.target, machine.vm.release, print).parent
    there = BUILT / "headers"
    if not there.exists():
        _run("cp", "-a", "--reflink=auto", str(found), str(there))
    return there


def _run(*command: str) -> Any:
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
