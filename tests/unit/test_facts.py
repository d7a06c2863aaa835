# SPDX-License-Identifier: MIT
"""Facts of a kernel: what is read, what is kept by build id, what another boot changes."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from kpmagic.errors import TargetError, TargetLost
from kpmagic.kernel.facts import KernelFacts, gather, with_modules
from kpmagic.kernel.kept import read_build_id

BUILD_ID = bytes(range(20))
NOTES = (
    struct.pack("<III4s", 4, 4, 1, b"Xen\0") + b"\1\2\3\4"
    + struct.pack("<III4s", 4, 20, 3, b"GNU\0") + BUILD_ID
)  # fmt: skip
KALLSYMS = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81002000 t do_int3
ffffffff813669e0 T vfs_read
ffffffff81366cf0 T vfs_readv
ffffffffc0001000 t nft_do_chain\t[nf_tables]
ffffffffc0002000 t bpf_prog_6deef7357e7b4530\t[bpf]
"""
BLACKLIST = b"0xffffffff81002000-0xffffffff81002050\tdo_int3\n"
# one type: int
BTF = (
    struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, 16, 16, 5)
    + struct.pack("<4I", 1, 1 << 24, 4, 1 << 24 | 32) + b"\0int\0"
)  # fmt: skip
HELLO = {"release": "6.1.0-56-amd64", "machine": "x86_64", "cpus": 2, "pid": 7}


class Machine:
    """The files of a machine, and what was read of them."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, int | None]] = []
        self.files = {
            "/sys/kernel/notes": NOTES,
            "/proc/kallsyms": KALLSYMS,
            "/sys/kernel/btf/vmlinux": BTF,
            "/sys/kernel/tracing/available_filter_functions": b"vfs_read\nvfs_readv\n"
            b"nft_do_chain [nf_tables]\n",
            "/sys/kernel/debug/kprobes/blacklist": BLACKLIST,
        }

    def read(self, path: str, size: int | None = None) -> bytes:
        self.reads.append((path, size))
        if path not in self.files:
            raise TargetError(f"no file {path!r}")
        return self.files[path][:size]

    def reboot_elsewhere(self) -> None:
        """Boot the same kernel at another address."""
        self.reads.clear()
        for path in ("/proc/kallsyms", "/sys/kernel/debug/kprobes/blacklist"):
            self.files[path] = self.files[path].replace(b"ffffffff81", b"ffffffff9b")


@pytest.fixture
def machine() -> Machine:
    return Machine()


def facts_of(machine: Machine, cache: Path) -> KernelFacts:
    return gather(machine.read, HELLO, cache)


def test_gather(machine: Machine, tmp_path: Path) -> None:
    facts = facts_of(machine, tmp_path)
    assert (facts.release, facts.machine, facts.cpus) == ("6.1.0-56-amd64", "x86_64", 2)
    assert facts.build_id == BUILD_ID.hex()
    assert facts.btf_file.read_bytes() == BTF
    assert facts.btf.type_named("int") is not None
    assert facts.traceable is not None
    assert facts.traceable.by_module[""] == {"vfs_read", "vfs_readv"}
    assert facts.blacklist.names == {"do_int3"}
    assert facts.functions("vfs_*") == ["vfs_read", "vfs_readv"]
    assert not facts.modules_read
    assert facts.features == frozenset()


def test_functions_by_all_their_names(machine: Machine, tmp_path: Path) -> None:
    lines = b"ffffffff813669e0 t __do_vfs_read\nffffffff813669e0 T vfs_read\n"
    machine.files["/proc/kallsyms"] = KALLSYMS.replace(b"ffffffff813669e0 T vfs_read\n", lines)
    machine.files["/sys/kernel/tracing/available_filter_functions"] = (
        b"__do_vfs_read\n__ftrace_invalid_address___128\n"
    )
    facts = facts_of(machine, tmp_path)
    assert facts.functions() == ["__do_vfs_read", "vfs_read"]


def test_second_time_reads_little(machine: Machine, tmp_path: Path) -> None:
    first = facts_of(machine, tmp_path)
    machine.reads.clear()
    second = facts_of(machine, tmp_path)
    assert machine.reads == [("/sys/kernel/notes", None), ("/proc/kallsyms", 65536)]
    assert second.traceable == first.traceable
    assert second.blacklist == first.blacklist
    assert second.symbols.find("vfs_read") == first.symbols.find("vfs_read")


def test_what_is_large_is_there_once_for_all_boots_of_a_kernel(
    machine: Machine, tmp_path: Path
) -> None:
    facts_of(machine, tmp_path)
    first, second = (facts_of(machine, tmp_path) for _ in range(2))
    assert second.btf is first.btf
    assert second.symbols is first.symbols
    assert second.traceable is first.traceable
    machine.reboot_elsewhere()
    moved = facts_of(machine, tmp_path)
    assert moved.btf is first.btf
    assert moved.symbols.find("vfs_read") != first.symbols.find("vfs_read")


def test_kept_files_are_private_and_whole(machine: Machine, tmp_path: Path) -> None:
    facts_of(machine, tmp_path)
    directory = tmp_path / "facts" / BUILD_ID.hex()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in directory.iterdir()) == [
        "blacklist", "kallsyms", "traceable", "vmlinux.btf",
    ]  # fmt: skip
    assert b"[" not in (directory / "kallsyms").read_bytes()


def test_another_boot_of_the_same_kernel(machine: Machine, tmp_path: Path) -> None:
    facts_of(machine, tmp_path)
    machine.reboot_elsewhere()
    moved = facts_of(machine, tmp_path)
    assert len(machine.reads) == 2
    assert moved.symbols.find("vfs_read")[0].address == 0xFFFFFFFF9B3669E0
    assert moved.blacklist.has("do_int3", 0xFFFFFFFF9B002000)
    assert not moved.blacklist.has("vfs_read", 0xFFFFFFFF9B3669E0)


def test_blacklist_first_read_on_another_boot(machine: Machine, tmp_path: Path) -> None:
    hidden = machine.files.pop("/sys/kernel/debug/kprobes/blacklist")
    assert facts_of(machine, tmp_path).blacklist.names == frozenset()
    machine.files["/sys/kernel/debug/kprobes/blacklist"] = hidden
    machine.reboot_elsewhere()
    assert facts_of(machine, tmp_path).blacklist.has("do_int3", 0xFFFFFFFF9B002000)


@pytest.mark.parametrize("first_hidden", [True, False])
def test_addresses_hidden_on_one_of_two_boots(
    machine: Machine, tmp_path: Path, first_hidden: bool
) -> None:
    plain = machine.files["/proc/kallsyms"]
    hidden = re.sub(rb"(?m)^[0-9a-f]{16}", b"0" * 16, plain)
    machine.files["/proc/kallsyms"] = hidden if first_hidden else plain
    facts_of(machine, tmp_path)
    machine.files["/proc/kallsyms"] = plain if first_hidden else hidden
    facts = facts_of(machine, tmp_path)
    expected = 0xFFFFFFFF813669E0 if first_hidden else 0
    assert facts.symbols.find("vfs_read")[0].address == expected


def test_modules_are_read_on_demand(machine: Machine, tmp_path: Path) -> None:
    facts = facts_of(machine, tmp_path)
    assert "nft_do_chain" not in facts.symbols
    full = with_modules(facts, machine.read)
    assert full.modules_read
    assert full.symbols.find("nft_do_chain", "nf_tables")
    assert full.symbols.modules == {"nf_tables"}
    assert full.traceable is not None
    assert full.traceable.has("nft_do_chain", "nf_tables")
    assert not full.traceable.has("nft_do_chain")
    assert "nft_do_chain" not in facts.functions()
    assert full.functions("nft_do_chain") == ["nft_do_chain"]
    assert "nft_do_chain" in full.functions(module="nf_tables")
    assert "vfs_read" not in full.functions(module="nf_tables")


@pytest.mark.parametrize("name", ["vmlinux.btf", "kallsyms"])
@pytest.mark.parametrize("damage", [b"", b"\0garbage"])
def test_damaged_file_is_read_again(
    machine: Machine, tmp_path: Path, name: str, damage: bytes
) -> None:
    facts_of(machine, tmp_path)
    (tmp_path / "facts" / BUILD_ID.hex() / name).write_bytes(damage)
    facts = facts_of(machine, tmp_path)
    assert "vfs_read" in facts.symbols
    assert facts.btf_file.read_bytes() == BTF


def test_without_tracefs_all_functions_are_listed(machine: Machine, tmp_path: Path) -> None:
    del machine.files["/sys/kernel/tracing/available_filter_functions"]
    facts = facts_of(machine, tmp_path)
    assert facts.traceable is None
    assert facts.functions("vfs_read?") == ["vfs_readv"]
    assert facts.functions("vfs_*") == ["vfs_read", "vfs_readv"]
    full = with_modules(facts, machine.read)
    assert full.functions("nft_do_chai?", "nf_tables") == ["nft_do_chain"]


@pytest.mark.parametrize("path", ["/sys/kernel/btf/vmlinux", "/proc/kallsyms"])
def test_what_must_be_there(machine: Machine, tmp_path: Path, path: str) -> None:
    del machine.files[path]
    with pytest.raises(TargetError, match=f"{path}' cannot be read") as caught:
        facts_of(machine, tmp_path)
    assert "CONFIG" in caught.value.hint


def test_known_btf_is_not_read(machine: Machine, tmp_path: Path) -> None:
    del machine.files["/sys/kernel/btf/vmlinux"]
    assert gather(machine.read, HELLO, tmp_path, btf=BTF).btf.type_named("int") is not None


def test_target_lost_is_not_swallowed(machine: Machine, tmp_path: Path) -> None:
    def read(path: str, size: int | None = None) -> bytes:
        if "tracing" in path:
            raise TargetLost("the sandbox is gone")
        return machine.read(path, size)

    with pytest.raises(TargetLost):
        gather(read, HELLO, tmp_path)


def test_inline_functions(machine: Machine, tmp_path: Path) -> None:
    listed = tmp_path / "inline.txt"
    listed.write_text("get_page\tinclude/linux/mm.h\n")
    facts = gather(machine.read, HELLO, tmp_path, inline=listed)
    assert facts.inline == {"get_page": "include/linux/mm.h"}


@pytest.mark.parametrize("notes", [b"", NOTES[:20], NOTES[:25], b"\xff" * 40])
def test_no_build_id(notes: bytes) -> None:
    with pytest.raises(TargetError, match="no build id"):
        read_build_id(notes)
