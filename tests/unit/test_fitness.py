# SPDX-License-Identifier: MIT
"""Kernels that cannot be probed: each has its own error and a next step."""

from __future__ import annotations

import pytest

from kpmagic.errors import KpmagicError, NotPermitted, TargetError
from kpmagic.kernel import fitness
from kpmagic.kernel.kept import Read

HELLO = {"release": "6.1.0-test", "machine": "x86_64", "libbpf": "1.1.2"}
FIT = {
    "/sys/kernel/notes": b"\4\0",
    fitness.LOCKDOWN: b"[none] integrity confidentiality\n",
    fitness.KPROBES: b"8\n",
    fitness.BTF: b"\x9f\xeb",
    "/proc/self/mounts": b"debug /sys/kernel/debug debugfs rw 0 0\n",
    "/proc/modules": b"",
    fitness.SIGNED_ONLY: b"N\n",
    fitness.MODULES_SHUT: b"0\n",
}


def reading(change: dict[str, bytes | None]) -> Read:
    files = FIT | change

    def read(path: str, size: int | None = None) -> bytes:
        content = files.get(path)
        if content is None:
            raise TargetError(f"{path}: no such file")
        return content[:size]

    return read


def check(change: dict[str, bytes | None], has_types: bool = False, **hello: str) -> None:
    fitness.check(reading(change), HELLO | hello, has_types)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {fitness.LOCKDOWN: None},
        {fitness.LOCKDOWN: b"none [integrity] confidentiality\n"},
    ],
)
def test_a_kernel_that_can_be_probed(change: dict[str, bytes | None]) -> None:
    check(change)
    check(change | {fitness.BTF: None}, has_types=True)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"/sys/kernel/notes": None}, TargetError, "sysfs"),
        ({fitness.LOCKDOWN: b"none integrity [confidentiality]\n"}, NotPermitted, "locked down"),
        ({fitness.KPROBES: None}, TargetError, "6.1.0-test.*no kprobes"),
        ({fitness.BTF: None}, TargetError, "types"),
        ({"/proc/self/mounts": b"proc /proc proc rw 0 0\n"}, TargetError, "debugfs"),
    ],
)
def test_one_that_cannot(
    change: dict[str, bytes | None], error: type[KpmagicError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        check(change)
    assert caught.value.hint


def test_another_architecture_is_told_first() -> None:
    with pytest.raises(TargetError, match="aarch64"):
        check(dict.fromkeys(FIT), machine="aarch64")


@pytest.mark.parametrize("change", [{}, {fitness.LOCKDOWN: None, fitness.SIGNED_ONLY: None}])
def test_a_kernel_that_takes_modules(change: dict[str, bytes | None]) -> None:
    fitness.check_modules(reading(change), HELLO)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"/proc/modules": None}, TargetError, "6.1.0-test.*takes no modules"),
        ({fitness.LOCKDOWN: b"none [integrity] confidentiality\n"}, NotPermitted, "locked down"),
        ({fitness.SIGNED_ONLY: b"Y\n"}, NotPermitted, "signed modules only"),
        ({fitness.MODULES_SHUT: b"1\n"}, NotPermitted, "no more modules until"),
    ],
)
def test_one_that_takes_none(
    change: dict[str, bytes | None], error: type[KpmagicError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        fitness.check_modules(reading(change), HELLO)
    assert "--backend bpf" in caught.value.hint
