# SPDX-License-Identifier: MIT
"""%kp struct and %kp sig: trees of types, of the kernel and of a module, as text and as HTML."""

from __future__ import annotations

import html.parser
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from kpmagic.compiler.toolchain import find_clang
from kpmagic.errors import CellError, KpmagicError, SymbolError, TargetError
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.btf_tree import Node
from kpmagic.kp import declared
from kpmagic.view.tree import Tree

SOURCE = """
typedef unsigned int u32;
typedef u32 word;
enum color { RED = 1, GREEN = -2 };
struct inner { int a; struct { short b; union { char c; long d; }; }; };
typedef struct inner inner_t;
struct node {
	struct node *next;
	inner_t in;
	struct inner many[2];
	unsigned int one : 1, two : 2;
	enum color color;
	int (*call)(struct node *, long);
	word size;
};
struct node use_node; word use_word;
int walk(struct node *node, word size) { return node->one + size; }
"""


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    source = tmp_path_factory.mktemp("types") / "types.c"
    source.write_text(SOURCE)
    command = [find_clang().program, "-target", "bpf", "-g", "-O1", "-c", str(source), "-o", "-"]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    return Btf(ELFFile(io.BytesIO(made)).get_section_by_name(".BTF").data())


class Facts:
    release = "0.1-tiny"

    def __init__(self, btf: Btf) -> None:
        self.btf = btf


class Machine:
    """A connection to a kernel that has loaded no modules."""

    def __init__(self, btf: Btf) -> None:
        self._facts = Facts(btf)

    def facts(self, progress: Any) -> Facts:
        return self._facts

    def read(self, path: str, size: int | None = None) -> bytes:
        raise TargetError(f"no {path} here")


@pytest.fixture
def ask(
    btf: Btf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Any]:
    monkeypatch.setattr(declared.session, "connection", lambda: Machine(btf))

    def ask(*words: str) -> list[str]:
        declared.struct(list(words))
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return ask


def test_a_struct_with_all_there_is(ask: Any) -> None:
    assert ask("node") == [
        "struct node {",
        "struct node *next; /* 0 8 */",
        "inner_t in; /* 8 24 */",
        "struct inner many[2]; /* 32 48 */",
        "unsigned int one:1; /* 80: 0 4 */",
        "unsigned int two:2; /* 80: 1 4 */",
        "enum color color; /* 84 4 */",
        "int (*call)(struct node *, long); /* 88 8 */",
        "word size; /* 96 4 */",
        "}; /* size: 104 */",
    ]


def test_the_offsets_are_those_of_clang(btf: Btf, tmp_path: Path) -> None:
    checks = {member.name: member.bit_offset // 8 for member in btf.members(btf.type_named("node"))
              if not member.bits}  # fmt: skip
    assert len(checks) == 6
    asserts = "".join(
        f'_Static_assert(__builtin_offsetof(struct node, {name}) == {at}, "{name}");'
        for name, at in checks.items()
    )
    file = tmp_path / "offsets.c"
    file.write_text(SOURCE + asserts)
    command = [find_clang().program, "-target", "bpf", "-c", str(file), "-o", "/dev/null"]
    subprocess.run(command, check=True)


def test_depth_opens_structs_in_structs(ask: Any) -> None:
    lines = ask("node", "--depth", "2")
    assert lines[2:4] == ["struct inner {", "int a; /* 8 4 */"]
    assert "} in; /* 8 24 */" in lines
    assert "long d; /* 24 8 */" in lines


def test_a_chain_of_typedefs_is_followed_to_its_end(ask: Any) -> None:
    assert ask("word") == ["typedef u32 word;", "typedef unsigned int u32;"]
    assert ask("inner_t")[:2] == ["typedef struct inner inner_t;", "struct inner {"]


COLOR = "enum color color; /* 84 4 */"
ENUM = ["enum color {", "RED = 1,", "GREEN = -2,", "}; /* size: 4 */"]
SIZE = ["word size; /* 96 4 */", "typedef u32 word;", "typedef unsigned int u32;"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("node.size", SIZE),
        ("struct node.in.b", ["short b; /* 16 2 */"]),
        ("node->next->in.d", ["long d; /* 24 8 */"]),
        ("node.in.d", ["long d; /* 24 8 */"]),
        ("node.many.a", ["int a; /* 0 4 */"]),
        ("node.two", ["unsigned int two:2; /* 80: 1 4 */"]),
        ("node.s*", SIZE),
        ("node.[n", None),
        ("node.c*", [COLOR, "int (*call)(struct node *, long); /* 88 8 */"]),
        ("in*", ["struct inner;", "typedef inner_t;"]),
        ("enum *", ["enum color;"]),
        ("enum color", ENUM),
        ("node.color", [COLOR, *ENUM]),
    ],
)  # fmt: skip
def test_members_and_patterns(ask: Any, asked: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(CellError, match="usage"):
            ask(asked)
        return
    assert ask(*asked.split()) == expected


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ("nodes", "no type 'nodes' in this kernel", "did you mean node?"),
        ("struct color", "no type 'struct color'", ""),
        ("node.sizes", "'node' has no member 'sizes'", "did you mean size?"),
        ("node.size.x", "'node.size' has no members: it is a 'word'", ""),
        ("node.*.a", "may match several", "%kp struct 'node.*'"),
        ("mod:node", "no type 'node' in module 'mod'", ""),
        ("zz*", "no type 'zz*'", "lists several"),
        ("", "usage", ""),
        ("node; x", "usage", ""),
        ("node --deep 2", "no option '--deep' here", "--depth"),
        ("node --depth x", "whole number", ""),
    ],
)
def test_what_is_not_there_is_said(ask: Any, asked: str, message: str, hint: str) -> None:
    with pytest.raises(KpmagicError) as caught:
        ask(*asked.split())
    assert isinstance(caught.value, (CellError, SymbolError))
    assert message in caught.value.message
    assert hint in caught.value.hint


class Texts(html.parser.HTMLParser):
    """What a reader of a page sees, and the elements that are open or not."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.details: list[bool] = []
        self.tags: set[str] = set()
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.style = tag == "style"
        if tag == "details":
            self.details.append("open" in dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self.style = False

    def handle_data(self, data: str) -> None:
        if not self.style:
            self.texts.append(data)


def test_html_has_what_the_text_has_and_more_to_open(btf: Btf) -> None:
    shown = Tree(declared._at(btf, btf.type_named("node"), declared._asked("node"), 1))
    page = Texts()
    page.feed(shown._repr_html_())
    seen = " ".join(" ".join(page.texts).split())
    for line in shown.text().splitlines()[1:-1]:
        assert " ".join(line.split()) in seen
    assert "long d; /* 24 8 */" in seen, "what is inside the closed ones"
    assert "RED = 1," in seen
    assert page.details[0]
    assert not all(page.details)
    assert page.tags <= {"div", "style", "details", "summary", "i"}


def test_names_are_other_peoples_text() -> None:
    evil = Node("struct <script>alert(1)</script>\x1b[31m\u202e;", "<b>", (Node("<i onload=x>"),))
    shown = Tree([evil], ["<img src=x>"])
    page = shown._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "<img" not in page
    assert "<i onload" not in page
    assert "\x1b" not in shown.text() + page
    assert "\u202e" not in shown.text() + page


def test_a_signature_holds_the_types_of_its_parameters(
    ask: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Tree] = []
    monkeypatch.setattr(declared, "tell", told.append)
    declared.signature(["walk"])
    assert told[0].text() == "int walk(struct node *node, word size)"
    page = told[0]._repr_html_()
    assert "struct node *node;" in page
    assert "inner_t in;" in page
    assert "typedef unsigned int u32;" in page
