# SPDX-License-Identifier: MIT
"""What the doctor finds, on this machine and on kernels in various states."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from kpmagic.errors import TargetError, TargetLost
from kpmagic.kp import doctor

HEALTHY = {
    "/sys/kernel/debug/kprobes/enabled": b"1\n",
    "/sys/kernel/tracing/tracing_on": b"1\n",
    "/sys/kernel/btf/vmlinux": b"\x9f\xeb\0BPF_MAP_TYPE_RINGBUF\0",
    "/sys/kernel/security/lockdown": b"[none] integrity confidentiality\n",
    "/proc/sys/kernel/ftrace_enabled": b"1\n",
    "/proc/sys/kernel/kptr_restrict": b"0\n",
}


class Files:
    """A target that is nothing but files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.hello = {"release": "6.1.0-50-amd64", "libbpf": "1.1.2"}

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise TargetError(f"no file {path!r}")
        return self.files[path]

    def request(self, word: str) -> tuple[dict[str, Any], bytes]:
        assert word == "staying"
        return {"modules": []}, b""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bad(files: dict[str, bytes]) -> dict[str, doctor.Check]:
    """The checks of a target that are not well, by name; the machine's own are left out."""
    machine = {check.name for check in doctor.checks()}
    found = [check for check in doctor.checks(Files(files)) if check.name not in machine]
    return {check.name: check for check in found if check.ok is False}


def test_a_healthy_kernel_has_nothing_to_mend() -> None:
    assert bad(HEALTHY) == {}


@pytest.mark.parametrize(
    ("change", "name", "mend"),
    [
        ({"/sys/kernel/debug/kprobes/enabled": b"0\n"}, "kprobes enabled", "echo 1 >"),
        ({"/proc/sys/kernel/ftrace_enabled": b"0\n"}, "ftrace enabled", "sysctl"),
        ({"/sys/kernel/btf/vmlinux": b"\x9f\xeb"}, "ring buffer", "5.8"),
        (
            {"/sys/kernel/security/lockdown": b"none integrity [confidentiality]\n"},
            "lockdown",
            "lockdown=integrity",
        ),
    ],
)
def test_a_sick_kernel_is_told_how_to_be_mended(
    change: dict[str, bytes], name: str, mend: str
) -> None:
    found = bad(HEALTHY | change)
    assert set(found) == {name}
    assert mend in found[name].mend


def test_files_that_cannot_be_read_are_findings_not_failures() -> None:
    found = bad({})
    assert {"kprobes", "debugfs", "tracefs", "BTF"} <= set(found)
    assert "mount -t debugfs" in found["debugfs"].mend


def test_an_open_cache_is_mended_by_its_mode(home: Path) -> None:
    home.mkdir(mode=0o755)
    check = next(check for check in doctor.checks() if check.name == "cache")
    assert check.ok is False
    assert check.mend == f"chmod 700 {home}"
    home.chmod(0o700)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert next(check for check in doctor.checks() if check.name == "cache").ok


def test_no_kernel_yet_says_how_to_fetch_one() -> None:
    check = next(check for check in doctor.checks() if check.name == "kernels")
    assert (check.ok, check.mend) == (False, "python -m kpmagic kernels fetch 6.1")


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(doctor.commands, "SYSTEM", ())
    doctor.toolchain.find_clang.cache_clear()
    found = {check.name: check for check in doctor.checks()}
    assert found["qemu-system-x86_64"].mend.endswith("apt-get install --no-install-recommends "
                                                     "qemu-system-x86")  # fmt: skip
    assert "clang-19 libclang1-19" in found["clang"].mend


@pytest.mark.parametrize(("version", "user", "ok"), [(6, 0, True), (0, 0, False), (0, 1000, None)])
def test_what_keeps_compilers_from_files(
    version: int, user: int, ok: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.confine, "landlock", lambda: version)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: user)
    check = next(check for check in doctor.checks() if check.name == "landlock")
    assert check.ok is ok
    assert bool(check.mend) == (ok is False)


def test_a_target_that_goes_meanwhile_hides_nothing_else() -> None:
    class Going(Files):
        def request(self, word: str) -> tuple[dict[str, Any], bytes]:
            raise TargetLost("sandbox is gone")

    found = doctor.checks(Going({}))
    assert {"python", "target's kernel"} <= {check.name for check in found}
    assert (found[-1].ok, found[-1].found) == (False, "sandbox is gone")


def test_each_check_has_a_line_and_one_for_its_mend() -> None:
    for check in doctor.checks(Files({})):
        assert len(str(check).splitlines()) == 1 + bool(check.mend)
