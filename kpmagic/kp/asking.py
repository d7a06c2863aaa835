# SPDX-License-Identifier: MIT
"""Subcommands that ask what a kernel has, and which kernels there are."""

from __future__ import annotations

from ..errors import CellError, SymbolError, TargetError
from ..session import session
from ..view.clean import clean
from ..view.table import Table, grouped
from ..view.trampoline import Trampoline
from .probed_code import trampoline as look

MOST = 100


def symbols(words: list[str]) -> None:
    """Print the functions that match a shell pattern, those of the modules loaded now too."""
    if len(words) != 1:
        raise CellError("usage: %kp symbols 'vfs_*'")
    module, _, pattern = words[0].rpartition(":")
    connection = session.connection()
    connection.facts(session.progress)
    facts = connection.facts_with_modules()
    if module and module not in facts.symbols.modules:
        raise SymbolError(f"module {module!r} is not loaded",
                          hint=f"load it on the target: %kp run modprobe {module}")  # fmt: skip
    found = facts.functions(pattern, module or None)
    if not found:
        raise SymbolError(f"no function matches {words[0]!r} in this kernel ({facts.release})",
                          hint="* stands for anything: %kp symbols '*read*'")  # fmt: skip
    print("\n".join(map(clean, found[:MOST])))
    if len(found) > MOST:
        print(f"{MOST} of {grouped(len(found))}; a narrower pattern shows the rest")


def trampoline(words: list[str]) -> Trampoline:
    """Return what a running probe has made of the kernel's code."""
    if len(words) != 1:
        raise CellError("usage: %kp trampoline NAME",
                        hint="NAME is a running probe's: %kp list")  # fmt: skip
    return look(words[0])


def kernels(words: list[str]) -> None:
    """Print the kernels the sandbox can boot; fetch one, or remove it."""
    from ..targets import kernels as stock

    if words:
        if len(words) != 2 or words[0] not in ("fetch", "remove"):
            raise CellError("usage: %kp kernels [fetch|remove VERSION]")
        if words[0] == "remove":
            _remove(words[1])
            return
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


def _remove(version: str) -> None:
    """Remove a fetched kernel that no sandbox of this session runs. Raises TargetError."""
    from ..targets import kernels as stock

    for connection in session.connections:
        kernel = getattr(connection.target, "kernel", None)
        if isinstance(kernel, stock.Kernel) and kernel.version == version:
            raise TargetError(f"kernel {version!r} runs in the sandbox of this session",
                              hint="%kp clean ends it")  # fmt: skip
    taken = stock.remove(version, session.progress)
    print(f"removed kernel {version}: {grouped(taken >> 20)} MB")
