# SPDX-License-Identifier: MIT
"""Subcommands that ask what a kernel has, and which kernels there are."""

from __future__ import annotations

from .errors import CellError, SymbolError
from .model import Options, Probe
from .session import session
from .syntax import parse_spec
from .view.table import Table, grouped

MOST = 100


def symbols(words: list[str]) -> None:
    """Print the functions that match a shell pattern."""
    if len(words) != 1:
        raise CellError("this is written: %kp symbols 'vfs_*'")
    facts = session.connection().facts(session.progress)
    found = facts.functions(words[0])
    if not found:
        raise SymbolError(f"no function matches {words[0]!r} in this kernel ({facts.release})",
                          hint="* stands for anything: %kp symbols '*read*'")  # fmt: skip
    print("\n".join(found[:MOST]))
    if len(found) > MOST:
        print(f"{MOST} of {grouped(len(found))}; a narrower pattern shows the rest")


def signature(words: list[str]) -> None:
    """Print a function's prototype, as the kernel's own types say it."""
    if len(words) != 1:
        raise CellError("this is written: %kp sig SYMBOL")
    facts = session.connection().facts(session.progress)
    function = facts.btf.function(words[0])
    if function is None:
        from .resolve import resolve

        (site,) = resolve(Probe("kprobe", (parse_spec(words[0]),), None, Options()), facts).sites
        if site.note:
            print(site.note)
        function = site.function
    if function is None:
        raise SymbolError(f"the kernel's types do not describe {words[0]!r}",
                          hint="'regs' holds its arguments by position")  # fmt: skip
    print(facts.btf.prototype(function))


def struct(words: list[str]) -> None:
    """Print a type's members."""
    name = " ".join(words)
    if not name:
        raise CellError("this is written: %kp struct TYPE")
    facts = session.connection().facts(session.progress)
    text = facts.btf.struct(name)
    if text is None:
        hint = "struct NAME, union NAME, enum NAME, or a typedef's name"
        raise SymbolError(f"no type {name!r} in this kernel ({facts.release})", hint=hint)
    print(text)


def kernels(words: list[str]) -> None:
    """Print the kernels the sandbox can boot, or fetch one."""
    from .targets import kernels as stock

    if words:
        if words[0] != "fetch" or len(words) != 2:
            raise CellError("this is written: %kp kernels [fetch VERSION]")
        kernel = stock.fetch(words[1], session.progress)
        print(f"{kernel.version}  {kernel.release}  {kernel.directory}")
        return
    have = {kernel.version: kernel for kernel in stock.fetched()}
    rows = tuple(
        (version, have[version].release if version in have else f"%kp kernels fetch {version}",
         "the default" if version == stock.DEFAULT else "")
        for version in stock.SUITES
    )  # fmt: skip
    print(Table(("kernel", "fetched", ""), rows, (False, False, False)).text())
