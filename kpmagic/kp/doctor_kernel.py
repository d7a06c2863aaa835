# SPDX-License-Identifier: MIT
"""What a running kernel lets be probed, read from its files and switches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from kpmagic.errors import KpmagicError

KPROBES = "/sys/kernel/debug/kprobes/enabled"
BTF = "/sys/kernel/btf/vmlinux"
LOCKDOWN = "/sys/kernel/security/lockdown"


class Connection(Protocol):
    """What is asked here of a connection to a target."""

    @property
    def hello(self) -> Mapping[str, Any]:
        """The agent's HELLO message."""

    def read(self, path: str) -> bytes:
        """Return a file of the target. Raises KpmagicError."""

    def request(self, word: str) -> tuple[dict[str, Any], bytes]:
        """Ask the agent. Raises KpmagicError."""


class Finding(NamedTuple):
    """The fields of a doctor's Check."""

    name: str
    ok: bool | None
    found: str
    mend: str = ""


def findings(connection: Connection) -> Iterator[Finding]:
    """Yield what is found on the connected target."""
    if "no_kernel" in connection.hello:
        yield Finding("target", None, str(connection.hello["no_kernel"]), "%kp target sandbox")
        return
    release = str(connection.hello["release"])
    yield Finding("target's kernel", True, release)
    libbpf = connection.hello["libbpf"]
    yield Finding("target's libbpf", bool(libbpf), libbpf or "not found",
                  "" if libbpf else "apt-get install libbpf1    (on the target)")  # fmt: skip
    yield from _switches(connection)
    yield from _types(connection)
    yield from _rights(connection)
    yield from _modules(connection)


def _switches(connection: Connection) -> Iterator[Finding]:
    """Kprobes and ftrace: built in, and switched on."""
    kprobes = _line(connection, KPROBES)
    built = kprobes is not None or _line(connection, "/sys/bus/event_source/devices/kprobe/type")
    yield Finding("kprobes", bool(built), "built in" if built else "this kernel has none",
                  "" if built else "use a kernel with CONFIG_KPROBE_EVENTS=y")  # fmt: skip
    yield Finding("debugfs", kprobes is not None, "mounted" if kprobes else "not readable",
                  "" if kprobes else "mount -t debugfs debugfs /sys/kernel/debug")  # fmt: skip
    traced = _line(connection, "/sys/kernel/tracing/tracing_on")
    yield Finding("tracefs", traced is not None, "mounted" if traced else "not readable",
                  "" if traced else "mount -t tracefs tracefs /sys/kernel/tracing")  # fmt: skip
    if kprobes is not None:
        yield _switch("kprobes enabled", kprobes, f"echo 1 > {KPROBES}")
    ftrace = _line(connection, "/proc/sys/kernel/ftrace_enabled")
    if ftrace is not None:
        yield _switch("ftrace enabled", ftrace, "sysctl kernel.ftrace_enabled=1")


def _switch(name: str, value: str, mend: str) -> Finding:
    on = value != "0"
    if on:
        return Finding(name, True, "yes")
    return Finding(name, False, "switched off: no probe ever fires", mend)


def _types(connection: Connection) -> Iterator[Finding]:
    """BTF, and the ring buffer, which BTF names where the kernel has it (since 5.8)."""
    try:
        btf = connection.read(BTF)
    except KpmagicError:
        yield Finding("BTF", False, "none: types of arguments are not known",
                      "use a kernel with CONFIG_DEBUG_INFO_BTF=y")  # fmt: skip
        return
    yield Finding("BTF", True, f"{len(btf) / 1e6:.1f} MB")
    ring = b"\0BPF_MAP_TYPE_RINGBUF\0" in btf
    yield Finding("ring buffer", ring, "yes" if ring else "this kernel has none",
                  "" if ring else "use Linux 5.8 or newer")  # fmt: skip


def _rights(connection: Connection) -> Iterator[Finding]:
    """What keeps root from probing, or others than root."""
    lockdown = _line(connection, LOCKDOWN)
    mode = "none" if lockdown is None else lockdown.partition("[")[2].partition("]")[0]
    closed = mode == "confidentiality"
    yield Finding("lockdown", not closed, mode,
                  "boot with lockdown=integrity: this mode refuses every probe" if closed
                  else "")  # fmt: skip
    for name, why in SYSCTLS.items():
        value = _line(connection, f"/proc/sys/kernel/{name}")
        if value is not None:
            yield Finding(name, None, f"{value} ({why})")


def _modules(connection: Connection) -> Iterator[Finding]:
    """What kpmagic has loaded and cannot take out."""
    for name, why in connection.request("staying")[0]["modules"]:
        yield Finding(f"module {name}", False, f"stays loaded: {why}",
                      "%kp clean, once nobody uses it; one without an exit goes with its kernel "
                      "only")  # fmt: skip


SYSCTLS = {
    "kptr_restrict": "2 hides addresses even from root; probes go by name all the same",
    "perf_event_paranoid": "above 2 a probe needs root, CAP_BPF and CAP_PERFMON are not enough",
}


def _line(connection: Connection, path: str) -> str | None:
    """Return a file's text, or None where it cannot be read."""
    try:
        return connection.read(path).decode(errors="replace").strip()
    except KpmagicError:
        return None
