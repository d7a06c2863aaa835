# SPDX-License-Identifier: MIT
"""/proc/kallsyms: names with several addresses, modules, KASLR, hidden addresses."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmagic.errors import TargetError
from kpmagic.kernel import kallsyms
from kpmagic.kernel.kallsyms import Kallsyms, Symbol

TEXT = b"""\
0000000000000000 A fixed_percpu_data
0000000000001000 D irq_stack_backing_store
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81366900 t name_show
ffffffff813669e0 T vfs_read
ffffffff81366cf0 T vfs_readv
ffffffff81366f00 t name_show
ffffffff81367000 t finish_task_switch.isra.0
ffffffff81367100 t finish_task_switch.cold
ffffffff81368000 W weak_function
ffffffff82000000 D jiffies
ffffffff82000100 B vfs_count
ffffffff82f00000 T _sinittext
ffffffff82f00100 t setup_early
ffffffff82fff000 T _einittext
ffffffffc0001000 t nft_do_chain\t[nf_tables]
ffffffffc0001200 t name_show\t[nf_tables]
ffffffffc0002000 t bpf_prog_6deef7357e7b4530_sd_fw\t[bpf]
ffffffffc0003000 t ftrace_trampoline\t[__builtin__ftrace]
"""
SHIFT = 0x1A00_0000


@pytest.fixture
def symbols() -> Kallsyms:
    return Kallsyms(TEXT)


def test_find(symbols: Kallsyms) -> None:
    assert symbols.find("vfs_read") == (Symbol("vfs_read", 0xFFFFFFFF813669E0, "T"),)
    assert symbols.find("vfs_rea") == ()
    assert symbols.find("fs_read") == ()
    assert symbols.find("") == ()
    assert symbols.find("T vfs_read") == ()
    assert "jiffies" in symbols
    assert "nobody" not in symbols


def test_name_with_several_addresses(symbols: Kallsyms) -> None:
    assert [(s.address, s.module) for s in symbols.find("name_show")] == [
        (0xFFFFFFFF81366900, ""),
        (0xFFFFFFFF81366F00, ""),
        (0xFFFFFFFFC0001200, "nf_tables"),
    ]
    assert len(symbols.find("name_show", "nf_tables")) == 1
    assert len(symbols.find("name_show", "")) == 2
    assert symbols.find("name_show", "nf") == ()


@pytest.mark.parametrize(
    ("name", "is_function"),
    [("vfs_read", True), ("name_show", True), ("weak_function", True), ("jiffies", False)],
)
def test_is_function(symbols: Kallsyms, name: str, is_function: bool) -> None:
    assert symbols.find(name)[0].is_function is is_function


def test_by_address(symbols: Kallsyms) -> None:
    found = symbols.at(0xFFFFFFFF813669E9)
    assert found is not None
    assert (found[0].name, found[1]) == ("vfs_read", 9)
    first = symbols.at(0xFFFFFFFF81000000)
    assert first is not None
    assert first[0].name == "_stext"
    for nowhere in (0, 0x1000, 0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFFF, 1 << 64):
        assert symbols.at(nowhere) is None


def test_end_of_a_function(symbols: Kallsyms) -> None:
    assert symbols.end(0xFFFFFFFF813669E0) == 0xFFFFFFFF81366CF0
    assert symbols.end(0xFFFFFFFFC0003000) is None
    assert symbols.end(0) is None


def test_kaslr_moves_the_kernel_but_not_per_cpu_offsets() -> None:
    moved = Kallsyms(TEXT, SHIFT)
    assert moved.find("vfs_read")[0].address == 0xFFFFFFFF813669E0 + SHIFT
    assert moved.find("irq_stack_backing_store")[0].address == 0x1000
    found = moved.at(0xFFFFFFFF813669E9 + SHIFT)
    assert found is not None
    assert (found[0].name, found[1]) == ("vfs_read", 9)
    assert moved.end(found[0].address) == 0xFFFFFFFF81366CF0 + SHIFT


def test_hidden_addresses_still_give_names() -> None:
    hidden = Kallsyms(re.sub(rb"(?m)^[0-9a-f]{16}", b"0" * 16, TEXT))
    assert hidden.hidden
    assert hidden.find("vfs_read") == (Symbol("vfs_read", 0, "T"),)
    assert hidden.at(0xFFFFFFFF813669E0) is None
    assert not Kallsyms(TEXT).hidden


def test_variants_of_a_function(symbols: Kallsyms) -> None:
    names = [s.name for s in symbols.variants("finish_task_switch")]
    assert names == ["finish_task_switch.isra.0", "finish_task_switch.cold"]
    assert symbols.variants("task_switch") == ()
    assert symbols.variants("vfs_read") == ()


def test_functions(symbols: Kallsyms) -> None:
    functions = symbols.functions()
    assert functions >= {"vfs_read", "vfs_readv", "name_show", "nft_do_chain", "weak_function"}
    assert not functions & {"jiffies", "vfs_count", "irq_stack_backing_store"}


def test_other_names_of_a_function() -> None:
    symbols = Kallsyms(
        b"ffffffff81000000 T _stext\n"
        b"ffffffff81000100 t __do_sys_getppid\n"
        b"ffffffff81000100 T __ia32_sys_getppid\n"
        b"ffffffff81000100 T __x64_sys_getppid\n"
        b"ffffffff81000200 T vfs_read\n"
    )
    assert [(first.name, other.name) for first, other in symbols.aliases()] == [
        ("__do_sys_getppid", "__ia32_sys_getppid"),
        ("__do_sys_getppid", "__x64_sys_getppid"),
    ]


def test_init_code(symbols: Kallsyms) -> None:
    assert symbols.is_init(symbols.find("setup_early")[0])
    assert not symbols.is_init(symbols.find("vfs_read")[0])


def test_modules(symbols: Kallsyms) -> None:
    assert symbols.modules == {"nf_tables", "bpf", "__builtin__ftrace"}
    assert Kallsyms(kallsyms.without_generated(TEXT)).modules == {"nf_tables"}
    kernel = kallsyms.without_modules(TEXT)
    assert kernel.count(b"\n") == TEXT.count(b"\n") - 4
    assert Kallsyms(kernel).modules == frozenset()
    assert kallsyms.without_modules(kernel) == kernel


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, 0xFFFFFFFF81000000),
        (TEXT[:60], None),
        (b"0000000000000000 T _text\n", 0),
        (b"ffffffff81000000 T _text", 0xFFFFFFFF81000000),
        (b"", None),
    ],
)
def test_anchor(text: bytes, expected: int | None) -> None:
    assert kallsyms.anchor(text) == expected


@pytest.mark.parametrize("text", [b"", b"\0\0\0", b"cat: /proc/kallsyms: No such file\n"])
def test_not_kallsyms(text: bytes) -> None:
    with pytest.raises(TargetError, match="/proc/kallsyms has") as caught:
        Kallsyms(text)
    assert "CONFIG_KALLSYMS" in caught.value.hint


def test_agrees_with_a_plain_parser_on_many_lines() -> None:
    lines = [f"{0xFFFFFFFF81000000 + 16 * i:016x} t f{i % 50_000}" for i in range(150_000)]
    symbols = Kallsyms("\n".join(lines).encode() + b"\n")
    begin = time.process_time()
    assert len(symbols.find("f77")) == 3
    found = symbols.at(0xFFFFFFFF81000000 + 16 * 120_000 + 3)
    assert time.process_time() - begin < 0.5
    assert found is not None
    assert (found[0].name, found[1]) == ("f20000", 3)


@given(st.binary(max_size=200), st.integers(0, len(TEXT)))
def test_damaged_text_raises_only_target_error(noise: bytes, at: int) -> None:
    with contextlib.suppress(TargetError):
        symbols = Kallsyms(TEXT[:at] + noise + TEXT[at:])
        for name in ("vfs_read", "name_show"):
            symbols.find(name)
            symbols.variants(name)
        symbols.at(0xFFFFFFFF813669E9)
        symbols.end(0xFFFFFFFF813669E0)
