# SPDX-License-Identifier: MIT
"""The store of saved machines, with a QEMU that has no kernel; and what their names depend on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kpmagic.kp.cleaning import clean_cache
from kpmagic.targets import console, fingerprint, qemu, saved_state
from kpmagic.targets.exports import Export
from kpmagic.targets.guest import Descriptors, Guest

MEMORY = 32 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bare(inherited: Descriptors, *more: str, share: str = "on") -> list[str]:
    """Return the arguments of a machine that only runs its firmware."""
    return [
        "-nodefaults", "-display", "none", "-M", "q35,memory-backend=ram", "-m", "32M",
        "-object", f"memory-backend-file,id=ram,size={MEMORY},share={share},"
                   f"mem-path=/proc/self/fd/{inherited.ram}",
        "-chardev", f"socket,id=monitor,fd={inherited.monitor}",
        "-mon", "chardev=monitor,mode=control", *more,
    ]  # fmt: skip


@pytest.fixture
def guest() -> Iterator[Guest]:
    """A QEMU that can be saved."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no qemu-system-x86_64")
    guest = Guest(console.Log("6.1"), bare, files=b"")
    guest.monitor.do("query-status")
    yield guest
    guest.close()


def saved(name: str = "one") -> bool:
    """Tell whether a machine is found."""
    found = saved_state.find(name)
    if found is not None:
        found.close()
    return found is not None


def test_a_machine_is_saved_for_its_owner_only(guest: Guest, cache: Path) -> None:
    assert not saved()
    assert saved_state.save("one", guest.monitor, guest.ram)
    assert guest.monitor.do("query-status")["running"]
    assert saved()
    top = cache / "machines"
    assert {each.name for each in top.iterdir() if each.is_dir()} == {"one"}
    for path in (top, top / "one", *(top / "one").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (top / "one/ram").stat().st_size == MEMORY
    assert (top / "one/ram").stat().st_blocks * 512 < MEMORY


def wait_for_firmware(guest: Guest) -> None:
    """Wait until the firmware has copied itself from its ROM to the guest's memory."""
    end = time.monotonic() + 20
    while b"SeaBIOS" not in os.pread(guest.ram, 0x10000, 0xF0000):
        assert time.monotonic() < end, "the firmware does not start"


def test_a_copy_has_the_memory_and_leaves_the_original_alone(guest: Guest, tmp_path: Path) -> None:
    wait_for_firmware(guest)
    assert saved_state.save("one", guest.monitor, guest.ram)
    path = tmp_path / "cache/machines/one/ram"
    before = path.read_bytes()
    machine = saved_state.find("one")
    assert machine is not None

    def arguments(inherited: Descriptors) -> list[str]:
        return bare(inherited, "-incoming", "defer", share="off")

    copy = Guest(console.Log("6.1"), arguments, ram=machine.ram)
    try:
        machine.restore(copy.monitor)
        assert copy.monitor.do("query-status")["running"]
        dump = tmp_path / "dump"
        copy.monitor.do("pmemsave", val=0xF0000, size=0x10000, filename=str(dump))
        assert b"SeaBIOS" in dump.read_bytes()
    finally:
        copy.close()
        machine.close()
    assert path.read_bytes() == before
    assert saved()


def truncate(name: str) -> Callable[[Path], None]:
    """Return what cuts the last byte off a file."""
    return lambda home: os.truncate(home / name, (home / name).stat().st_size - 1)


def write(name: str) -> Callable[[Path], None]:
    """Return what changes one byte of a file."""

    def change(home: Path) -> None:
        with open(home / name, "r+b") as file:
            file.seek(4096)
            file.write(b"x")

    return change


def rewrite_unseen(home: Path) -> None:
    """Change the small file, and set its time back."""
    times = (home / "device").stat()
    write("device")(home)
    os.utime(home / "device", ns=(times.st_atime_ns, times.st_mtime_ns))


def of_another(home: Path) -> None:
    """Have it tell that it is another machine."""
    told = json.loads((home / "complete.json").read_text())
    (home / "complete.json").write_text(json.dumps(told | {"name": "two"}))


def link(home: Path) -> None:
    """Put a link where the memory was."""
    (home / "ram").rename(home.parent / "elsewhere")
    (home / "ram").symlink_to(home.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut memory": truncate("ram"),
    "cut device": truncate("device"),
    "changed memory": write("ram"),
    "changed device": rewrite_unseen,
    "no device": lambda home: (home / "device").unlink(),
    "not complete": lambda home: (home / "complete.json").unlink(),
    "no JSON": lambda home: truncate("complete.json")(home),
    "no object": lambda home: (home / "complete.json").write_text("[]") and None,
    "another machine": of_another,
    "a link": link,
    "for others to write": lambda home: (home / "ram").chmod(0o622),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_refused_and_removed(
    guest: Guest, cache: Path, damage: Callable[[Path], None]
) -> None:
    assert saved_state.save("one", guest.monitor, guest.ram)
    damage(cache / "machines/one")
    assert not saved()
    assert not (cache / "machines/one").exists()
    assert saved_state.save("one", guest.monitor, guest.ram)
    assert saved()


def test_only_the_newest_are_kept(guest: Guest, cache: Path) -> None:
    left = cache / "machines/.saving-dead"
    left.mkdir(parents=True)
    (left / "ram").write_bytes(b"half")
    for number in range(saved_state.KEEP):
        assert saved_state.save(f"m{number}", guest.monitor, guest.ram)
        os.utime(cache / f"machines/m{number}", (number, number))
    assert not left.exists()
    assert saved("m0")  # used, so m1 is now the oldest
    assert saved_state.save("new", guest.monitor, guest.ram)
    found = {each.parent.name for each in (cache / "machines").glob("*/complete.json")}
    assert found == {"m0", "new", *(f"m{number}" for number in range(2, saved_state.KEEP))}


def test_what_did_not_come_up_is_not_saved_again_soon(guest: Guest, cache: Path) -> None:
    assert saved_state.save("one", guest.monitor, guest.ram)
    saved_state.distrust("one")
    assert not saved()
    assert not saved_state.save("one", guest.monitor, guest.ram)
    assert saved_state.save("two", guest.monitor, guest.ram)
    os.utime(cache / "machines/one.failed", (1, 1))
    assert saved_state.save("one", guest.monitor, guest.ram)


def test_clean_removes_machines(guest: Guest, cache: Path) -> None:
    assert saved_state.save("one", guest.monitor, guest.ram)
    (cache / "machines/.saving-dead").mkdir()
    assert any("saved machines: 2" in line for line in clean_cache())
    assert [each.name for each in (cache / "machines").iterdir()] == [".lock"]
    assert not saved()


def test_a_full_disk_leaves_nothing_and_the_guest_goes_on(
    guest: Guest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_state, "LEAST_FREE", 1 << 62)
    assert not saved_state.save("one", guest.monitor, guest.ram)
    assert list((cache / "machines").glob("[!.]*")) == []
    assert guest.monitor.do("query-status")["status"] != "paused"


def test_a_guest_that_dies_while_it_is_saved_leaves_nothing(guest: Guest, cache: Path) -> None:
    os.kill(guest.processes()[-1], 9)
    assert not saved_state.save("one", guest.monitor, guest.ram)
    assert [each.name for each in (cache / "machines").iterdir()] == [".lock"]


def test_digest_tells_parts_apart() -> None:
    assert saved_state.digest("ab", "c") != saved_state.digest("a", "bc")
    assert saved_state.digest(b"ab") == saved_state.digest("ab")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> qemu.Machine:
    """A machine whose kernel and QEMU are files that can be changed."""
    (tmp_path / "qemu-system-x86_64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-system-x86_64").chmod(0o755)
    (tmp_path / "vmlinux").write_text("kernel")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    exported = [Export("scratch", "", Path()), Export("spare", "", Path())]
    return qemu.Machine(tmp_path / "vmlinux", 0, 0, 0, 0, Path(), exports=exported)


def test_the_name_is_the_same_each_time(machine: qemu.Machine) -> None:
    assert fingerprint.machine(b"files", machine) == fingerprint.machine(b"files", machine)


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 1 << 30},
        {"cpus": 1},
        {"accelerator": "kvm"},
        {"exports": [Export("scratch", "", Path())]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_machine_has_another_name(machine: qemu.Machine, change: dict[str, object]) -> None:
    other = replace(machine, **change)  # type: ignore[arg-type]
    assert fingerprint.machine(b"files", other) != fingerprint.machine(b"files", machine)


@pytest.mark.parametrize("changed", ["vmlinux", "qemu-system-x86_64"])
def test_another_program_has_another_name(
    machine: qemu.Machine, changed: str, tmp_path: Path
) -> None:
    before = fingerprint.machine(b"files", machine)
    assert fingerprint.machine(b"other files", machine) != before
    os.utime(tmp_path / changed, ns=(1, 1))
    assert fingerprint.machine(b"files", machine) != before
