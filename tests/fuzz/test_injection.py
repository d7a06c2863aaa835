# SPDX-License-Identifier: MIT
"""Text that wants to be run: as a place, an option, a name, a host, a module, and on the card."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from compiled import TinyKernel

import kpmagic
from kpmagic import build
from kpmagic.cell import syntax
from kpmagic.cell.options import OPTIONS
from kpmagic.connecting import check_name
from kpmagic.errors import KpmagicError
from kpmagic.modules import source as modules
from kpmagic.targets import exports, qemu, ssh
from kpmagic.view.clean import clean, clean_text, escape
from kpmagic.view.table import Table

# what each would run leaves a file of this name behind
MARK = "kpmagic-was-run"
RUN = ("touch {0}", "touch${{IFS}}{0}", ">{0}")
HOSTILE = [
    line.split("\t", 1)
    for line in (Path(__file__).parent / "hostile.txt").read_text().splitlines()
    if not line.startswith("#")
]


def texts(*families: str) -> list[str]:
    """Return the texts of some families, of all when none is named."""
    wanted = [
        text.encode("latin-1", "backslashreplace").decode("unicode_escape")
        for family, text in HOSTILE
        if family in families or not families
    ]
    return sorted({text.replace("{}", run.format(MARK)) for text in wanted for run in RUN})


STRINGS = texts()


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder; nothing but what a test makes itself is in it afterwards."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob(f"*{MARK}*"))
    assert not Path("/", MARK).exists()


def test_there_are_enough() -> None:
    assert len(STRINGS) >= 300


def tried(act: object, *arguments: object, **keywords: object) -> object:
    """Return what came of it; None for an error of ours."""
    with contextlib.suppress(KpmagicError):
        return act(*arguments, **keywords)  # type: ignore[operator]
    return None


@pytest.mark.parametrize("text", STRINGS)
def test_as_places_options_and_names(text: str) -> None:
    for spec in (text, f"vfs_read{text}", f"mod:{text}"):
        found = tried(syntax.parse_spec, spec)
        assert found is None or re.fullmatch(r"[\w.$*?\[\]!:+-]+", found.text)
    for option in OPTIONS:
        if option.parse is not None and option.keyword:
            with contextlib.suppress(ValueError):
                value = option.parse(text)
                # text of the user's own is meant for a shell, for C, or for the kernel to compare
                assert option.field in ("command", "where", "comm", "defines", "save"), value
    tried(syntax.parse_probe, "kprobe", f"vfs_read --while {text}", "count();")
    name = tried(modules.module_from_keywords, text, "int x;", {})
    assert name is None
    tried(syntax.probe_from_keywords, "kprobe", "vfs_read", "count();", {"defines": {text: 1}})
    defined = tried(syntax.probe_from_keywords, "kprobe", "vfs_read", "count();",
                    {"defines": {"X": text}})  # fmt: skip
    for _, value in defined.options.defines if defined else ():
        assert value.startswith('"')
        assert "\n" not in value


@pytest.mark.parametrize("text", STRINGS)
def test_as_a_target(text: str) -> None:
    forms = ("ssh://{}", "ssh://ada@{}", "ssh://{}@far", "ssh://far:{}", "{}")
    for name in (form.replace("{}", text) for form in forms):
        address = tried(ssh.parse, name)
        if address is not None:
            words = ssh.command(address)
            assert words.index("--") == len(words) - 3
            assert not address.host.startswith("-")
            assert not any(MARK in word for word in words[: words.index("--")])
        assert tried(check_name, name) is None
    with pytest.raises(KpmagicError):
        kpmagic.connect(text)
    tried(qemu.memory_size, text)


@pytest.mark.parametrize("text", texts("C", "shell"))
def test_as_a_body(text: str, tiny: TinyKernel) -> None:
    for body in (text, f"emit(value);\n{text}", f"emit(x = {text});"):
        plan = tried(tiny.plan, "kprobe", "nothing", body)
        source = plan and tried(build.render, plan, tiny.compiler)
        if source:
            tried(build.compile_source, source, tiny.compiler, plan.probe)


class Tags(HTMLParser):
    """Collects what a browser would take for tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", STRINGS)
def test_on_a_card(text: str) -> None:
    shown = Table((text, "b"), ((text, text),), (False, False)).html()
    tags = Tags()
    tags.feed(shown)
    assert tags.found <= {"table", "thead", "tbody", "tr", "td", "th", "style", "div", "span"}
    tags = Tags()
    tags.feed(escape(text))
    assert not tags.found
    for plain in (clean(text), clean_text(text), escape(text)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)


@pytest.mark.parametrize("text", texts("shell", "ssh"))
def test_as_a_folder(text: str, tmp_path: Path) -> None:
    """A notebook's folder is on QEMU's command line."""
    name = text.replace(MARK, "x").replace("/", "_").replace("\0", "_")
    folder = tmp_path / name
    folder.mkdir()
    found, _, _ = exports.workdir(folder)
    assert found is None or os.fspath(found.source) == str(folder)


def test_a_shell_would_have_run_some(tmp_path: Path) -> None:
    """The strings are not blunt."""
    ran = 0
    for text in STRINGS:
        if "\0" in text:
            continue
        subprocess.run(["sh", "-c", text], cwd=tmp_path, check=False, capture_output=True,
                       stdin=subprocess.DEVNULL, timeout=20)  # fmt: skip
        for left in tmp_path.rglob(f"*{MARK}*"):
            left.unlink()
            ran += 1
    assert ran > 30
