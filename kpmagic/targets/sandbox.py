# SPDX-License-Identifier: MIT
"""The sandbox: a throw-away virtual machine with a stock kernel and the host's programs."""

from __future__ import annotations

import os
from pathlib import Path

from kpmagic.errors import MissingDependency, TargetError
from kpmagic.targets import acceleration, commands, console, exports, guest_files, kernels, qemu
from kpmagic.targets.base import Progress
from kpmagic.targets.guest import Guest, Port
from kpmagic.targets.kernels import Kernel
from kpmagic.targets.lease import SANDBOX

BOOT_SECONDS = {"tcg": 60.0, "kvm": 20.0}
SILENT_SECONDS = 1.5
ATTEMPTS = 2


class Sandbox:
    """A virtual machine that is booted when it is first needed, and again when it has died.

    ``kernel`` is a version (``6.1``) or a path; ``memory`` is QEMU's (``512M``); ``workdir`` is the
    notebook's folder, the working directory in the sandbox too. ``cwd`` is that directory there;
    ``workdir_note`` says why it is not the notebook's folder, or is empty.
    Raises TargetError, MissingDependency.
    """

    name = "sandbox"
    lease = SANDBOX

    def __init__(
        self,
        kernel: str = kernels.DEFAULT,
        memory: str = "512M",
        cpus: int = 2,
        workdir: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.kernel: Kernel = kernels.find(kernel)
        self.memory = memory
        self.cpus = cpus
        self.console: Path | None = None
        self.accelerator: qemu.Accelerator = "tcg"
        self._progress = progress
        self._guest: Guest | None = None
        self._exports = exports.system()
        if self.kernel.modules is not None:
            self._exports.append(exports.modules(self.kernel.release, self.kernel.modules))
        folder, self.cwd, self.workdir_note = exports.workdir(workdir or Path.cwd())
        if folder is not None:
            self._exports.append(folder)

    @property
    def alive(self) -> bool:
        """Whether the virtual machine runs."""
        return self._guest is not None and self._guest.alive

    def boot(self) -> None:
        """Boot, unless it runs: returns when the agent has spoken. Raises TargetError."""
        if self.alive:
            return
        self.close()
        self._require()
        if self._progress is not None:
            self._progress(f"booting Linux {self.kernel.release}")
        files = guest_files.archive(self.kernel, self._exports, self.cwd)
        if acceleration.may_use_kvm() and self._attempt(files, "kvm"):
            return
        for _ in range(ATTEMPTS):
            if self._attempt(files, "tcg"):
                return
            if not self.last_words():
                break  # a panic may be bad luck, any other end is not
        raise self._no_boot()

    def open_agent(self) -> Port:
        """Return the channel to the agent, after booting if need be. Raises TargetError."""
        self.boot()
        assert self._guest is not None
        return self._guest.port

    def kernel_btf(self) -> bytes | None:
        """Return the kernel's BTF, or None for a kernel without."""
        return None if self.kernel.btf is None else self.kernel.btf.read_bytes()

    def last_words(self) -> str:
        """Return what the kernel's console said when it died, or ``""``."""
        return "" if self.console is None else console.last_words(console.text(self.console))

    def processes(self) -> list[int]:
        """Return the ids of this process, the warden and QEMU, as far as they run."""
        return [os.getpid(), *(self._guest.processes() if self._guest else [])]

    def close(self) -> None:
        """End the virtual machine at once; the console's log stays."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    def _attempt(self, files: bytes, accelerator: qemu.Accelerator) -> bool:
        """Boot once; False when the agent did not speak."""
        log = self.console = console.new(self.kernel.release)
        guest = self._guest = Guest(files, log, lambda initrd, port: qemu.command(qemu.Machine(
            self.kernel.image, initrd, port, log, self.memory, self.cpus, accelerator,
            self._exports)))  # fmt: skip
        trial = accelerator == "kvm"
        try:
            answered = guest.wait(BOOT_SECONDS[accelerator], SILENT_SECONDS if trial else None)
        except BaseException:
            self.close()
            raise
        if trial:
            acceleration.remember_kvm(answered)
        if not answered:
            self._said = guest.messages()
            self.close()
            return False
        self.accelerator = accelerator
        return True

    def _no_boot(self) -> TargetError:
        log = "" if self.console is None else console.text(self.console)
        said = [line for line in (*self._said.splitlines(), *log.splitlines()) if line.strip()]
        tail = "\n".join(said[-6:]) or "the console stayed silent"
        return TargetError(
            f"Linux {self.kernel.release} does not boot in the sandbox; its last lines:\n{tail}",
            hint=f"the whole console: {self.console}\n"
            "another kernel: %kp target sandbox --kernel 6.1; more memory: --memory 1G",
        )

    def _require(self) -> None:
        for program in ("qemu-system-x86_64", "busybox", "setpriv"):
            commands.find(program)
        if not guest_files.PYTHON.exists():
            raise MissingDependency(
                f"no {str(guest_files.PYTHON)!r}: the sandbox runs the host's programs",
                hint="sudo apt-get install python3",
            )
