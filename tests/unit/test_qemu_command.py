# SPDX-License-Identifier: MIT
"""QEMU's command line, and what of the host is exported to the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.errors import TargetError
from kpmagic.targets import exports, qemu
from kpmagic.targets.exports import Export


def arguments(*exported: Export, accelerator: qemu.Accelerator = "tcg") -> list[str]:
    return qemu.command(
        qemu.Machine(
            Path("/k/vmlinux"),
            7,
            8,
            9,
            10,
            Path("/c/a,b.log"),
            exports=exported,
            accelerator=accelerator,
        )
    )


def test_everything_of_the_host_is_read_only() -> None:
    found = arguments(Export("scratch", "/usr", Path("/usr")), Export("workdir", "/w", Path("/w")))
    shared = [each for each in found if each.startswith("local,")]
    assert len(shared) == 2
    assert all("readonly=on" in each for each in shared)


def test_a_path_is_never_an_option() -> None:
    found = arguments(Export("workdir", "/w", Path("/w,readonly=off")))
    assert any("path=/w,,readonly=off,security_model" in each for each in found)
    assert "file,id=console,path=/c/a,,b.log" in found


def test_what_is_masked_is_not_exported_and_tags_count_it() -> None:
    found = arguments(
        Export("mask", "/opt/home", Path("/opt/home")), Export("plain", "/m", Path("/m"))
    )
    assert not any("/opt/home" in each for each in found)
    assert "virtio-9p-pci,fsdev=host1,mount_tag=host1" in found


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
def test_a_dying_kernel_ends_qemu(accelerator: qemu.Accelerator) -> None:
    found = arguments(accelerator=accelerator)
    parameters = found[found.index("-append") + 1].split()
    assert {"oops=panic", "softlockup_panic=1", "panic=-1"} <= set(parameters)
    assert "-no-reboot" in found
    assert ("loglevel=5" in parameters) == (accelerator == "tcg")
    assert ("norandmaps" in parameters) == (accelerator == "tcg")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("512", 512 << 20),
        ("1g", 1 << 30),
        ("2GB", 2 << 30),
        ("131072K", 128 << 20),
    ],
)
def test_memory_is_in_megabytes_unless_it_says(text: str, size: int) -> None:
    assert qemu.memory_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "64M", "-512M", "512M,slots=2", "1.5G", "9999999T", "x"])
def test_no_other_text_is_a_size(text: str) -> None:
    with pytest.raises(TargetError, match="no memory"):
        qemu.memory_size(text)


def test_a_restored_machine_keeps_its_memory_to_itself() -> None:
    machine = qemu.Machine(Path("/k/vmlinux"), None, 8, 9, 10, Path("/c/log"))
    found = qemu.command(machine)
    assert "-kernel" not in found
    assert [each for each in found if "share=" in each] == [
        "memory-backend-file,id=ram,size=536870912,mem-path=/proc/self/fd/10,share=off"
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "people/me"))
    (tmp_path / "people/me/lesson").mkdir(parents=True)
    (tmp_path / "people/me/.ssh").mkdir()
    return tmp_path / "people/me"


def test_the_notebooks_folder_is_the_working_directory(home: Path) -> None:
    found, cwd, note = exports.workdir(home / "lesson")
    assert found == Export("workdir", str(home / "lesson"), home / "lesson")
    assert cwd == str(home / "lesson")
    assert note == ""


def test_a_link_to_the_home_directory_is_the_home_directory(home: Path) -> None:
    (home.parent / "link").symlink_to(home)
    found, cwd, note = exports.workdir(home.parent / "link")
    assert found is None
    assert cwd == "/tmp"
    assert "home directory" in note


@pytest.mark.parametrize("place", [".", "..", "../..", ".ssh", "no/such"])
def test_home_secrets_and_nonsense_are_not_exported(home: Path, place: str) -> None:
    found, cwd, note = exports.workdir(home / place)
    assert found is None
    assert cwd == "/tmp"
    assert "is not in the sandbox: " in note


@pytest.mark.parametrize("place", ["/", "/etc", "/etc/ssl", "/home", "/usr", "/tmp", "/proc/self"])
def test_directories_of_the_system_are_not_exported(place: str) -> None:
    assert exports.workdir(Path(place))[:2] == (None, "/tmp")


def test_a_folder_inside_an_exported_one_needs_no_export() -> None:
    assert exports.workdir(Path("/usr/share")) == (None, "/usr/share", "")


def test_a_home_among_programs_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/usr/share")
    assert Export("mask", "/usr/share", Path("/usr/share")) in exports.system()
