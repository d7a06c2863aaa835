# SPDX-License-Identifier: MIT
"""The documentation: its reference names everything there is, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kpmagic.cell import options, scope, vocabulary
from kpmagic.kp.commands import SUBCOMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return loaded("reference")


def test_each_magic_and_option_is_there(reference: ModuleType) -> None:
    magics, listed = reference.page("magics"), reference.page("options")
    assert {"kprobe", "kretprobe", "kmodule", "kp"} <= set(reference.magic_names())
    assert all(f"## {name}" in magics for name in reference.magic_names())
    for option in options.OPTIONS:
        assert reference.cell(option.help) in listed, option.field
        assert (option.flag or option.short or option.metavar) in listed


def test_each_value_and_word_of_a_body_is_there(reference: ModuleType) -> None:
    page = reference.page("body")
    names = {*scope.BUILTINS, *(word.name for word in vocabulary.WORDS)}
    assert not [name for name in names if f"`{name}" not in page]


def test_each_subcommand_is_there(reference: ModuleType) -> None:
    page = reference.page("commands")
    assert all(reference.code(each.usage) in page for each in SUBCOMMANDS)


def test_each_public_name_is_there_with_its_words(reference: ModuleType) -> None:
    page = reference.page("python")
    for name in reference.public_names():
        assert f"## kpmagic.{name}\n" in page
    for member in ("df", "aggregates", "stats", "plot", "save", "stop", "wait", "info"):
        assert f"| `{member}` |" in page, member


def test_each_error_is_there_with_what_it_says(reference: ModuleType) -> None:
    page = reference.page("errors")
    classes = reference.error_classes()
    assert len(classes) >= 11
    assert all(f"## {cls.__name__}\n\n{reference.documentation(cls)}" in page for cls in classes)
    without = [cls.__name__ for cls in classes[1:]
               if cls.__name__ not in {each.error for each in reference.raised()}]  # fmt: skip
    assert set(without) <= {"VerifierError"}  # its words are the kernel's own


def test_messages_are_read_from_the_source_whatever_their_form(reference: ModuleType) -> None:
    messages = {each.message for each in reference.raised()}
    assert "only a kernel module has a Makefile" in messages  # plain
    assert "no subcommand '…'" in messages  # with something put in
    assert "'…' is notrace: it is not in available_filter_functions" in messages  # from a table


def test_the_site_is_built_without_a_warning_and_no_link_is_broken(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dirhtml",
             "-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "site")]  # fmt: skip
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    links = loaded("links")
    assert not list(links.broken(tmp_path / "site"))
    (tmp_path / "site/index.html").write_text('<a href="nowhere/">x</a> <a href="#no">y</a>')
    links.read.cache_clear()
    assert len(list(links.broken(tmp_path / "site"))) == 2
