# SPDX-License-Identifier: MIT
"""What is offered while a cell is typed."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest
from compiled import TinyKernel
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import CompletionContext, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from kpmagic.cell.options import OPTIONS, is_of
from kpmagic.errors import SymbolError
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.btf_types import Kind
from kpmagic.view.complete import Known, Offer, complete, values_of
from kpmagic.view.complete_names import Names


@dataclass
class Facts:
    """A kernel as far as completion looks."""

    btf: Btf
    release: str = "0.1-tiny"
    modules_read: bool = True

    def functions(self) -> list[str]:
        return self.btf.names(Kind.FUNC)

    def __getattr__(self, name: str) -> Any:
        raise SymbolError(f"this kernel has no {name}")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    kernel = TinyKernel(tmp_path_factory.mktemp("tiny"))
    kernel.compiler.close()
    return Known(Facts(kernel.btf), ("vfs_read", "slow"),
                 {"list": "list", "stop": "stop [NAME…|all]", "struct": "struct TYPE",
                  "sig": "sig SYMBOL", "symbols": "symbols GLOB"})  # fmt: skip


def offered(cell: str, known: Known) -> Offer:
    """What is offered at the ``|`` of a cell."""
    before, _, _after = cell.partition("|")
    line = before.count("\n")
    return complete(cell.replace("|", ""), line, len(before.split("\n")[-1]), known)


@pytest.mark.parametrize(
    ("cell", "fragment", "words"),
    [
        ("%%kprobe vfs_|", "vfs_", {"vfs_read", "vfs_write", "vfs_sync"}),
        ("%%kprobe vfs_read vfs_w|\nemit();", "vfs_w", {"vfs_write"}),
        ("%kretprobe noth|", "noth", {"nothing"}),
        ("x = 1\n%kprobe noth|", "noth", {"nothing"}),
        ("%%kprobe *fs_|", "*fs_", {"vfs_read", "vfs_write", "vfs_sync"}),
        ("%%kprobe vfs_?y|", "vfs_?y", {"vfs_sync"}),
        ("%%kprobe vfs_read --f|", "--f", {"--for", "--follow", "--fields"}),
        ("%%kprobe vfs_read --for 5s --f|", "--f", {"--follow", "--fields"}),
        ("%%kprobe vfs_read --show |", "", {"table", "plot", "none"}),
        ("%%kprobe vfs_read --show=p|", "p", {"plot"}),
        ("%%kprobe vfs_read --for |", "", set()),
        ("%%kprobe vfs_read --where 'x == vfs_|", "", set()),
        ("%%kprobe vfs_read\nemit(file->f_|", "f_", {"f_path", "f_flags", "f_pos"}),
        ("%%kprobe vfs_read\nemit(file->f_path.|", "", {"mnt", "dentry"}),
        ("%%kprobe vfs_read\nemit(file->f_path.dentry->d_name.na|me);", "na", {"name"}),
        ("%%kprobe vfs_read\nemit(file->inner->|", "", {"depth"}),
        ("%%kprobe vfs_read\nemit(file -> f_path . d|", "d", {"dentry"}),
        ("%%kprobe vfs_read\nemit(file->sm|", "sm", {"small"}),
        ("%%kprobe vfs_read\nemit(file[0].f_pa|", "f_pa", {"f_path"}),
        ("%%kprobe vfs_read\nemit(((struct dentry *)buf)->d_n|", "d_n", {"d_name"}),
        ("%%kprobe vfs_read\nstruct dentry *d = file->f_path.dentry;\nemit(d->d_n|", "d_n",
         {"d_name"}),
        ("%%kprobe nothing+4\nemit(regs->o|", "o", {"orig_ax"}),
        ("%%kprobe vfs_read\nemit(nobody->|", "", set()),
        ("%%kprobe vfs_read\nemit(file->nobody->|", "", set()),
        ("%%kprobe vfs_read\nemit(kp()->|", "", set()),
        ("%%kprobe vfs_read\nemit(1.|", "", set()),
        ("%%kprobe vfs_read\nemit(co|", "co", {"count", "comm"}),
        ("%%kprobe vfs_read\nemit(la|", "la", set()),
        ("%%kretprobe vfs_read\nemit(la|", "la", {"latency"}),
        ("%%kprobe vfs_read\nstruct de|", "de", {"dentry"}),
        ("%%kmodule hello --re|", "--re", {"--rename"}),
        ("%%kmodule vfs_|", "", set()),
        ("%%kmodule hello\nint co|", "", set()),
        ("%%kmodule hello\nstruct de|", "de", {"dentry"}),
        ("%kp s|", "s", {"stop", "struct", "sig", "symbols"}),
        ("%kp stop s|", "s", {"slow"}),
        ("%kp sig vfs_s|", "vfs_s", {"vfs_sync"}),
        ("%kp symbols 'vfs_s|", "vfs_s", {"vfs_sync"}),
        ("%kp struct fi|", "fi", {"file"}),
        ("%kp struct struct pa|", "pa", {"path"}),
        ("%kp struct enum c|", "c", {"color"}),
        ("%kp list |", "", set()),
        ("kprobe vfs_|", "", set()),
        ("%kprobes vfs_|", "", set()),
        ("%%kprobe|", "", set()),
    ],
)  # fmt: skip
def test_offers(cell: str, fragment: str, words: set[str], known: Known) -> None:
    offer = offered(cell, known)
    assert set(offer.words) == words
    if words:
        assert offer.fragment == fragment


def test_without_a_target_there_are_options_only() -> None:
    nothing = Known(subcommands={"list": "list"})
    for cell in ("%%kprobe vfs_|", "%%kprobe vfs_read\nemit(fi|", "%kp struct fi|", "%kp sig v|",
                 "%%kprobe vfs_read\nstruct fi|"):  # fmt: skip
        assert not offered(cell, nothing).words
    assert offered("%%kprobe vfs_read --fo|", nothing).words
    assert offered("%kp l|", nothing).words


def test_every_option_is_offered(known: Known) -> None:
    words = offered("%%kprobe vfs_read -|", known).words
    of_probes = [option for option in OPTIONS if is_of(option, "kprobe")]
    assert set(words) == {option.flag or option.short for option in of_probes}
    assert "-D" in offered("%%kprobe vfs_read -D A=1 -|", known).words
    assert values_of("--backend") == ["bpf", "kmod", "bcc"]


@given(st.lists(st.text(st.sampled_from("ab_1"), min_size=1, max_size=5), max_size=40),
       st.text(st.sampled_from("ab_1"), max_size=3))  # fmt: skip
def test_names_by_their_beginning(names: list[str], beginning: str) -> None:
    found = Names(names).starting(beginning, most=1000)
    assert found == sorted({name for name in names if name.startswith(beginning)})


@pytest.mark.parametrize("pattern", ["a*", "?b", "*1*", "a[b", "[ab]_*", "*"])
@given(names=st.lists(st.text(st.sampled_from("ab_1["), min_size=1, max_size=5), max_size=40))
def test_names_by_a_pattern(pattern: str, names: list[str]) -> None:
    wanted = pattern if pattern.endswith("*") else f"{pattern}*"
    matching = sorted(name for name in set(names) if fnmatchcase(name, wanted))
    assert Names(names).starting(pattern, most=1000) == matching
    assert Names(names).starting(pattern, most=2) == matching[:2]


@given(st.text(st.sampled_from("a->.()[]{};,= \n\"'*&"), max_size=40))
def test_no_text_breaks_it(known: Known, text: str) -> None:
    offered(f"%%kprobe vfs_read\n{text}|", known)
    offered(f"%%kprobe {text}|".split("\n")[0], known)


def test_ipython_asks_for_our_cells_only() -> None:
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    shell.extension_manager.load_extension("kpmagic")  # again: still one matcher
    (ours,) = [each for each in shell.Completer.custom_matchers
               if each.__module__.startswith("kpmagic")]  # fmt: skip

    def ask(cell: str) -> dict[str, Any]:
        lines = cell.split("\n")
        return ours(CompletionContext(token="", full_text=cell, cursor_position=len(lines[-1]),
                                      cursor_line=len(lines) - 1, limit=500))  # fmt: skip

    found = ask("%%kprobe vfs_read --fo")
    assert [each.text for each in found["completions"]] == ["--for", "--follow"]
    assert found["matched_fragment"] == "--fo"
    assert not ask("import os")["completions"]
    assert "list" in [each.text for each in ask("%kp ")["completions"]]
    with provisionalcompleter():
        cell = "%%kprobe vfs_read --fo"
        matches = [each.text for each in shell.Completer.completions(cell, len(cell))]
    assert matches == ["--for", "--follow"]
