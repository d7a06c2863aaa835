# SPDX-License-Identifier: MIT
"""System calls: where they begin, and their arguments as the kernel's events tell them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kpmagic.cell.syntax import parse_probe, parse_spec
from kpmagic.errors import SymbolError, TargetError
from kpmagic.gathering import facts_for
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.kallsyms import Kallsyms
from kpmagic.kernel.syscalls import entries, is_call, plain_name, prototype
from kpmagic.registers import words_of

SYMBOLS = b"""\
ffffffff81000000 T __x64_sys_openat
ffffffff81000100 T __ia32_sys_openat
ffffffff81000200 T __x64_sys_openat2
ffffffff81000300 t sys_off_notify
ffffffff81000400 T vfs_read
"""
FORMAT = """\
name: sys_enter_openat
ID: 659
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:char *const * argv;\toffset:32;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;
\tfield:__data_loc char[] __filename_val;\toffset:48;\tsize:4;\tsigned:0;

print fmt: "dfd: 0x%08lx", ((unsigned long)(REC->dfd))
"""
FACTS = cast(KernelFacts, SimpleNamespace(symbols=Kallsyms(SYMBOLS)))


def test_names_of_system_calls() -> None:
    assert plain_name(parse_spec("sys_openat")) == "sys_openat"
    assert plain_name(parse_spec("syscall:openat")) == "sys_openat"
    assert plain_name(parse_spec("syscall:sys_openat")) == "sys_openat"
    assert plain_name(parse_spec("vfs_read")) == ""


def test_where_they_begin() -> None:
    assert entries("sys_openat", FACTS) == ["__x64_sys_openat"]
    assert entries("sys_open*", FACTS) == ["__x64_sys_openat", "__x64_sys_openat2"]
    assert entries("sys_nothing", FACTS) == []


def test_a_plain_function_of_that_name_wins() -> None:
    assert not is_call(parse_spec("sys_off_notify"), FACTS)
    assert is_call(parse_spec("sys_openat"), FACTS)
    assert is_call(parse_spec("syscall:nothing"), FACTS)


def test_arguments_are_those_of_the_call() -> None:
    function = prototype("openat", FORMAT)
    assert [p.declaration for p in function.parameters] == [
        "int dfd",
        "const char *filename",
        "char *const *argv",
        "umode_t mode",
    ]
    assert (function.name, function.returns) == ("sys_openat", "long")
    words = words_of(function)
    assert words[0] == ["KP_LOAD(__u64, &((struct pt_regs *)kp_regs->di)->di)"]
    assert words[3] == ["KP_LOAD(__u64, &((struct pt_regs *)kp_regs->di)->r10)"]


def test_a_module_that_never_comes_ends_the_waiting() -> None:
    probe = parse_probe("kprobe", "nowhere:function --wait --max-time 300ms", "emit();")
    told: list[str] = []

    def read(path: str, size: int | None = None) -> bytes:
        raise TargetError(path)

    with pytest.raises(SymbolError, match="'nowhere' was not loaded in time"):
        facts_for(probe, FACTS, read, told.append)
    assert told == ["waiting for module nowhere"]


def test_waiting_ends_when_the_module_is_live() -> None:
    probe = parse_probe("kprobe", "syscall:openat 9p:open --wait --max-time 5s", "emit();")
    states = iter([b"coming\n", b"coming\n", b"live\n"])
    reads: list[str] = []

    def read(path: str, size: int | None = None) -> bytes:
        reads.append(path)
        if path.startswith("/sys/module/"):
            return next(states)
        raise TargetError(path)

    known: Any = SimpleNamespace(symbols=FACTS.symbols, modules_read=True)
    assert facts_for(probe, known, read) is known
    assert reads.count("/sys/module/9p/initstate") == 3
