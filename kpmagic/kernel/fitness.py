# SPDX-License-Identifier: MIT
"""Whether a kernel can be probed at all: asked before a probe is, so that each reason has its say.

What can change while a kernel runs (kprobes or ftrace switched off) the agent looks at each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kpmagic.errors import KpmagicError, NotPermitted, TargetError, TargetLost
from kpmagic.kernel.kept import Read

MACHINE = "x86_64"
LOCKDOWN = "/sys/kernel/security/lockdown"
SIGNED_ONLY = "/sys/module/module/parameters/sig_enforce"
MODULES_SHUT = "/proc/sys/kernel/modules_disabled"
KPROBES = "/sys/bus/event_source/devices/kprobe/type"
BTF = "/sys/kernel/btf/vmlinux"
SANDBOX = "%kp target sandbox has a kernel that can"


class Reason(NamedTuple):
    """Why not: ``message`` and ``hint`` may say ``{release}`` and ``{machine}``."""

    error: type[TargetError]
    message: str
    hint: str


def check(read: Read, hello: Mapping[str, Any], has_types: bool = False) -> None:
    """Raise what keeps this kernel from being probed; ``has_types``: its BTF is known already.

    Raises NotPermitted, TargetError.
    """
    _raise_first(REASONS, _Seen(read, hello, has_types), hello)


def check_modules(read: Read, hello: Mapping[str, Any]) -> None:
    """Raise what keeps everybody from loading a module that was built just now.

    Raises NotPermitted, TargetError.
    """
    _raise_first(NO_MODULES, _Seen(read, hello), hello)


def _raise_first(reasons: Reasons, seen: _Seen, hello: Mapping[str, Any]) -> None:
    for wrong, reason in reasons:
        if wrong(seen):
            raise reason.error(reason.message.format_map(hello), hint=reason.hint)


class _Seen:
    """What the target shows of itself."""

    def __init__(self, read: Read, hello: Mapping[str, Any], has_types: bool = False) -> None:
        self.machine = str(hello["machine"])
        self.libbpf = hello.get("libbpf")
        self.has_types = has_types
        self._read = read

    def text(self, path: str, size: int | None = 64) -> str | None:
        """Return the beginning of a file, None where it cannot be read. Raises TargetLost."""
        try:
            return self._read(path, size).decode(errors="replace")
        except TargetLost:
            raise
        except KpmagicError:
            return None

    @property
    def locked_down(self) -> str:
        """``none``, ``integrity`` or ``confidentiality``."""
        return (self.text(LOCKDOWN) or "").partition("[")[2].partition("]")[0] or "none"

    @property
    def has_debugfs(self) -> bool:
        """Whether debugfs is mounted; who may read it is another matter."""
        mounts = self.text("/proc/self/mounts", None) or ""
        return any(line.split(" ")[2] == "debugfs" for line in mounts.splitlines())


Reasons = tuple[tuple[Callable[[_Seen], bool], Reason], ...]

# in the order in which they are told: what explains the others comes first
REASONS: Reasons = (
    (
        lambda seen: seen.machine != MACHINE,
        Reason(TargetError, "this machine is {machine}; kpmagic probes x86_64 only", SANDBOX),
    ),
    (
        lambda seen: seen.text("/sys/kernel/notes") is None,
        Reason(TargetError, "sysfs cannot be read there", "mount -t sysfs sysfs /sys"),
    ),
    (
        lambda seen: seen.locked_down == "confidentiality",
        Reason(
            NotPermitted,
            "the kernel is locked down (confidentiality): it lets nobody read its memory",
            f"boot it with lockdown=integrity, or without; {SANDBOX}",
        ),
    ),
    (
        lambda seen: seen.text(KPROBES) is None,
        Reason(
            TargetError,
            "this kernel ({release}) has no kprobes: it was built without CONFIG_KPROBE_EVENTS",
            f"nothing can be probed on it; {SANDBOX}",
        ),
    ),
    (
        lambda seen: not seen.has_types and seen.text(BTF) is None,
        Reason(
            TargetError,
            "this kernel ({release}) does not describe its types: there is no "
            "/sys/kernel/btf/vmlinux",
            f"it needs CONFIG_DEBUG_INFO_BTF=y, as distributions' kernels have it; {SANDBOX}",
        ),
    ),
    (
        lambda seen: not seen.has_debugfs,
        Reason(
            TargetError,
            "debugfs is not mounted there: whether kprobes are switched on cannot be seen",
            "mount -t debugfs debugfs /sys/kernel/debug    (as root, on the target)",
        ),
    ),
)

BPF_CAN = f"--backend bpf may do there; {SANDBOX}"

NO_MODULES: Reasons = (
    (
        lambda seen: seen.text("/proc/modules") is None,
        Reason(TargetError, "this kernel ({release}) takes no modules: it was built without "
               "CONFIG_MODULES", BPF_CAN),
    ),
    (
        lambda seen: seen.locked_down != "none",
        Reason(NotPermitted, "the kernel is locked down: it takes signed modules only", BPF_CAN),
    ),
    (
        lambda seen: (seen.text(SIGNED_ONLY) or "").strip() == "Y",
        Reason(NotPermitted, "this kernel takes signed modules only (module.sig_enforce)",
               BPF_CAN),
    ),
    (
        lambda seen: (seen.text(MODULES_SHUT) or "").strip() == "1",
        Reason(NotPermitted, "this kernel takes no more modules until it is booted anew "
               "(kernel.modules_disabled)", BPF_CAN),
    ),
)  # fmt: skip
