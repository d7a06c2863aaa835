# SPDX-License-Identifier: MIT
"""The sandbox: a throw-away virtual machine with a stock kernel and the host's programs."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kpmagic.errors import MissingDependency, TargetError, TargetLost
from kpmagic.targets import (
    acceleration,
    commands,
    console,
    exports,
    fingerprint,
    folder,
    guest_files,
    kernels,
    qemu,
    saved_state,
)
from kpmagic.targets.base import Progress
from kpmagic.targets.exports import Export
from kpmagic.targets.guest import Descriptors, Guest
from kpmagic.targets.kernels import Kernel
from kpmagic.targets.lease import SANDBOX
from kpmagic.targets.port import Port
from kpmagic.targets.qmp import MonitorError

BOOT_SECONDS = {"tcg": 60.0, "kvm": 20.0}
GREET_SECONDS = 15.0  # a guest that is prepared greets within 0.3 s, on a quiet host
SILENT_SECONDS = 1.5
ATTEMPTS = 2
MACHINE = "x86_64"


class Sandbox:
    """A virtual machine that is booted when it is first needed, and again when it has died.

    ``kernel`` is a version (``6.1``) or a path; ``memory`` is QEMU's (``512M``); ``workdir`` is the
    notebook's folder, the working directory in the sandbox too. ``cwd`` is that directory there;
    ``workdir_note`` says why it is not the notebook's folder, or is empty. ``saved`` says whether
    it may start as a copy of a saved machine, and save one; ``restored`` whether it did the former,
    ``start_note`` why it did not although there was one. Raises TargetError, MissingDependency.
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
        saved: bool = True,
    ) -> None:
        self.kernel: Kernel = kernels.find(kernel)
        self.memory = qemu.memory_size(memory)
        self.cpus = qemu.processors(cpus)
        self.restored = False
        self.start_note = ""
        self.console: console.Log | None = None
        self.accelerator: qemu.Accelerator = "tcg"
        self._progress = progress
        self._saved = saved
        self._said, self._hung = "", False
        self._guest: Guest | None = None
        self._closing = threading.Lock()
        self._exports = exports.system()
        if self.kernel.modules is not None:
            self._exports.append(exports.modules(self.kernel.release, self.kernel.modules))
        own, self.cwd, self.workdir_note = exports.workdir(folder.own(workdir))
        self._exports.append(own or exports.spare())

    @property
    def alive(self) -> bool:
        """Whether the virtual machine runs."""
        guest = self._guest  # another thread may be closing it
        return guest is not None and guest.alive

    def boot(self) -> None:
        """Boot, unless it runs: returns when the agent has spoken. Raises TargetError."""
        if self.alive:
            return
        self.close()
        self._require()
        files = guest_files.archive(self.kernel)
        if acceleration.may_use_kvm() and self._start(files, "kvm"):
            return
        for _ in range(ATTEMPTS):
            if self._start(files, "tcg"):
                return
            if not (self.last_words() or self._hung):
                break  # a panic or a standstill may be bad luck, any other end is not
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
        return "" if self.console is None else console.last_words(self.console.text())

    def processes(self) -> list[int]:
        """Return the ids of this process, the warden and QEMU, as far as they run."""
        guest = self._guest
        return [os.getpid(), *(guest.processes() if guest else [])]

    def close(self) -> None:
        """End the virtual machine at once; the console's log stays. Any thread may call it."""
        with self._closing:
            guest, self._guest = self._guest, None
        if guest is not None:
            guest.close()

    def _start(self, files: bytes, accelerator: qemu.Accelerator) -> bool:
        """Start once; False when the agent did not speak."""
        name = self._machine_name(files, accelerator) if self._saved else ""
        try:
            self.restored = bool(name) and self._restore(name, accelerator)
            started = self.restored or self._boot(files, accelerator, name)
        except BaseException:
            self.close()
            raise
        if started:
            self.accelerator = accelerator
        return started

    def _restore(self, name: str, accelerator: qemu.Accelerator) -> bool:
        """Start a copy of a saved machine; False when there is none that comes up."""
        saved = saved_state.find(name)
        if saved is None:
            return False
        try:
            guest = self._new_guest(accelerator, ram=saved.ram)
            try:
                saved.restore(guest.monitor)
                if self._greet(guest):
                    return True
                why = guest.messages() or "the agent was silent"
            except (MonitorError, TargetLost) as error:
                why = guest.messages() or str(error)
        finally:
            saved.close()
        self.start_note = f"the saved machine did not come up, so a fresh one was booted: {why}"
        if self._progress is not None:
            self._progress(self.start_note)
        saved_state.distrust(name)
        self.close()
        return False

    def _boot(self, files: bytes, accelerator: qemu.Accelerator, name: str) -> bool:
        """Boot; save the machine as ``name``, unless that is empty, where it can be copied."""
        if self._progress is not None:
            self._progress(f"booting Linux {self.kernel.release}")
        guest = self._new_guest(accelerator, files=files)
        trial = accelerator == "kvm"
        silent = SILENT_SECONDS if trial else None
        prepared = guest.wait_until_prepared(BOOT_SECONDS[accelerator], silent)
        if trial:
            acceleration.remember_kvm(prepared)
        if prepared:
            if name:
                saved_state.save(name, guest.monitor, guest.ram)
            with suppress(MonitorError, TargetLost):
                if self._greet(guest):
                    return True
        self._said, self._hung = guest.messages(), guest.alive
        self.close()
        return False

    def _new_guest(
        self, accelerator: qemu.Accelerator, files: bytes | None = None, ram: int | None = None
    ) -> Guest:
        log = self.console = console.Log(self.kernel.release)

        def arguments(inherited: Descriptors) -> list[str]:
            return qemu.command(self._machine(accelerator, inherited, log.path, self._exports))

        self._guest = Guest(log, arguments, files, ram)
        return self._guest

    def _greet(self, guest: Guest) -> bool:
        settings = guest_files.settings(self._exports, self.cwd)
        greeted = guest.greet(settings, GREET_SECONDS)
        guest.started()
        return greeted

    def _machine(
        self, accelerator: qemu.Accelerator, inherited: Descriptors, log: Path,
        exported: list[Export],
    ) -> qemu.Machine:  # fmt: skip
        return qemu.Machine(
            self.kernel.image, *inherited, log, self.memory, self.cpus, accelerator, exported,
            self._saved,
        )  # fmt: skip

    def _machine_name(self, files: bytes, accelerator: qemu.Accelerator) -> str:
        """Return the name of the machine as it is saved: with nothing of this notebook in it."""
        somewhere = [replace(each, path="", source=Path()) for each in self._exports]
        machine = self._machine(accelerator, Descriptors(0, 0, 0, 0), Path(), somewhere)
        return fingerprint.machine(files, machine)

    def _no_boot(self) -> TargetError:
        log = "" if self.console is None else self.console.text()
        where = "" if self.console is None else self.console.path
        said = [line for line in (*self._said.splitlines(), *log.splitlines()) if line.strip()]
        tail = "\n".join(said[-6:]) or "the console stayed silent"
        return TargetError(
            f"Linux {self.kernel.release} does not boot in the sandbox; its last lines:\n{tail}",
            hint=f"the whole console: {where}\n"
            "another kernel: %kp target sandbox --kernel 6.1; more memory: --memory 1G",
        )

    def _require(self) -> None:
        if platform.machine() != MACHINE:
            raise TargetError(
                f"this machine is {platform.machine()}: the sandbox runs its programs, and its "
                f"kernels are for {MACHINE}",
                hint=f"%kp target ssh://user@host probes a {MACHINE} machine from here",
            )
        for program in ("qemu-system-x86_64", "busybox", "setpriv"):
            commands.find(program)
        if not guest_files.PYTHON.exists():
            raise MissingDependency(
                f"no {str(guest_files.PYTHON)!r}: the sandbox runs the host's programs",
                hint="sudo apt-get install python3",
            )
