# SPDX-License-Identifier: MIT
"""BTF: against what clang makes of C, against bpftool, and against bytes that are not BTF."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmagic.errors import TargetError
from kpmagic.kernel import btf_struct, btf_tree
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.btf_types import Kind

KERNEL = Path("/sys/kernel/btf/vmlinux")
CLANG = next((c for c in ("clang-19", "clang") if shutil.which(c)), "clang-19")

SOURCE = """
typedef unsigned long size_t;
typedef long long loff_t;
typedef struct { int counter; } atomic_t;
typedef int (*compare_t)(const void *, const void *);
enum color { RED, GREEN = 5, LAST = -1 };
enum { NAMELESS_A, NAMELESS_B };
enum wide { HUGE = 0x100000000ULL };
struct inner { int a; struct { short b; union { char c; long d; }; }; };
struct flags { unsigned one:1; unsigned two:2; unsigned rest:29; _Bool yes:1; };
struct node { struct node *next; struct inner in; char name[16]; enum color color; atomic_t refs; };
struct forward;

long plain(struct node *node, char *buf, size_t count, loff_t *pos) { return node->color; }
void nothing(void) {}
int pointers(const char *text, volatile int *const *deep, int (*grid)[4]) { return **deep; }
int calls(int (*fn)(void *, int), compare_t compare, char *(**table)(void)) { return fn(0, 1); }
int kinds(_Bool yes, enum color color, struct forward *f, enum wide w, signed char small)
{ return yes + color + w + small; }
int unnamed(int, struct flags *flags, struct { int x; } *secret) { return flags->one + secret->x; }
struct node *found(int (*const *ops)(struct inner)) { return 0; }
static struct flags some_flags; struct flags *get_flags(void) { return &some_flags; }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the BTF clang makes of SOURCE."""
    home = tmp_path_factory.mktemp("btf")
    (home / "t.c").write_text(SOURCE)
    command = [CLANG, "-target", "bpf", "-g", "-O2", "-w", "-c", "t.c", "-o", "t.o"]
    subprocess.run(command, cwd=home, check=True)
    with open(home / "t.o", "rb") as file:
        section = ELFFile(file).get_section_by_name(".BTF")
        assert section is not None
        (home / "t.btf").write_bytes(section.data())
    return home / "t.btf"


@pytest.fixture(scope="module")
def btf(compiled: Path) -> Btf:
    return Btf(compiled.read_bytes())


@pytest.mark.parametrize(
    ("name", "prototype"),
    [
        ("plain", "long plain(struct node *node, char *buf, size_t count, loff_t *pos)"),
        ("nothing", "void nothing(void)"),
        (
            "pointers",
            "int pointers(const char *text, volatile int *const *deep, int (*grid)[4])",
        ),
        (
            "calls",
            "int calls(int (*fn)(void *, int), compare_t compare, char *(**table)(void))",
        ),
        (
            "kinds",
            "int kinds(_Bool yes, enum color color, struct forward *f, enum wide w, "
            "signed char small)",
        ),
        ("unnamed", "int unnamed(int arg0, struct flags *flags, void *secret)"),
        ("found", "struct node *found(int (*const *ops)(struct inner))"),
    ],
)
def test_prototype(btf: Btf, name: str, prototype: str) -> None:
    function = btf.function(name)
    assert function is not None
    assert btf.prototype(function) == prototype


def test_parameters(btf: Btf) -> None:
    function = btf.function("kinds")
    assert function is not None
    assert [(p.name, p.kind, p.size) for p in function.parameters] == [
        ("yes", "bool", 1),
        ("color", "enum", 4),
        ("f", "pointer", 8),
        ("w", "enum", 8),
        ("small", "int", 1),
    ]
    assert (function.returns, function.returns_size) == ("int", 4)


def text_of(btf: Btf, name: str, depth: int = 1) -> str:
    """Return the C text of a type with offsets and sizes, ``""`` for an unknown name."""
    type_id = btf.type_named(name)
    return "" if type_id is None else "\n".join(btf_tree.tree(btf, type_id, depth).lines())


def test_unknown_names(btf: Btf) -> None:
    assert btf.function("node") is None
    assert btf.function("plai") is None
    assert btf.function("") is None
    assert text_of(btf, "struct nobody") == ""
    assert btf.type_named("spoon node") is None
    assert set(btf.names(Kind.FUNC)) >= {"plain", "nothing", "calls"}


def test_struct_text(btf: Btf) -> None:
    text = text_of(btf, "struct inner")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "struct inner {",
        "int a; /* 0 4 */",
        "struct {",
        "short b; /* 8 2 */",
        "union {",
        "char c; /* 16 1 */",
        "long d; /* 16 8 */",
        "}; /* 16 8 */",
        "}; /* 8 16 */",
        "}; /* size: 24 */",
    ]


def test_bitfields_and_typedefs(btf: Btf) -> None:
    flags = text_of(btf, "flags")
    assert "unsigned int two:2;" in flags
    assert "0: 1" in flags
    assert text_of(btf, "loff_t") == "typedef long long loff_t;"
    atomic = text_of(btf, "atomic_t")
    assert atomic.startswith("typedef struct {")
    assert "} atomic_t;" in atomic


def test_struct_depth(btf: Btf) -> None:
    flat, deep = text_of(btf, "node"), text_of(btf, "node", depth=2)
    assert "struct inner in;" in flat
    assert "int a;" not in flat
    assert "int a;" in deep


def test_members_and_enumerators(btf: Btf) -> None:
    function = btf.function("plain")
    assert function is not None
    members = {m.name: m for m in btf.members(function.parameters[0].type_id)}
    assert list(members) == ["next", "in", "name", "color", "refs"]
    assert [m.name for m in btf.members(members["next"].type_id)] == list(members)
    inner = btf.members(members["in"].type_id)
    assert [(m.name, m.bit_offset) for m in inner] == [("a", 0), ("b", 64), ("c", 128), ("d", 128)]
    assert btf.enumerators(members["color"].type_id) == {0: "RED", 5: "GREEN", -1: "LAST"}
    wide = btf.type_named("enum wide")
    assert wide is not None
    assert btf.enumerators(wide) == {0x100000000: "HUGE"}
    assert btf.enumerators(members["name"].type_id) == {}
    assert btf.members(members["color"].type_id) == ()


def dump(path: Path) -> list[dict[str, Any]]:
    command = ["bpftool", "btf", "dump", "file", str(path), "-j"]
    types = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["types"]
    return [t for t in types if t["kind"] in ("STRUCT", "UNION")]


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.parametrize("source", ["compiled", "kernel"])
def test_same_layout_as_bpftool(source: str, compiled: Path) -> None:
    path = compiled if source == "compiled" else KERNEL
    if not path.exists():
        pytest.skip("this machine's kernel has no BTF")
    btf = Btf(path.read_bytes())
    types = dump(path)
    assert types
    for expected in types:
        found = btf.type(expected["id"])
        assert (found.kind.name, found.value) == (expected["kind"], expected["size"])
        rows = list(btf_struct.rows(btf, found))
        assert rows == [
            (
                m["name"].replace("(anon)", ""),
                m["type_id"],
                m["bits_offset"],
                m.get("bitfield_size", 0),
            )
            for m in expected["members"]
        ]


@pytest.mark.skipif(not KERNEL.exists(), reason="this machine's kernel has no BTF")
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_every_hundredth_kernel_prototype_compiles(tmp_path: Path) -> None:
    btf = Btf(KERNEL.read_bytes())
    command = ["bpftool", "btf", "dump", "file", str(KERNEL), "format", "c"]
    header = subprocess.run(command, check=True, capture_output=True).stdout
    (tmp_path / "vmlinux.h").write_bytes(header)
    functions = [f for name in btf.names(Kind.FUNC)[::100] if (f := btf.function(name)) is not None]
    assert len(functions) > 100
    lines = [f"{btf.prototype(f).replace(f.name + '(', f'kp_{f.name}(', 1)};" for f in functions]
    (tmp_path / "t.c").write_text('#include "vmlinux.h"\n' + "\n".join(lines))
    command = [CLANG, "-target", "bpf", "-fsyntax-only", "-w", "t.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- BTF made by hand: what neither clang nor this kernel makes


class Writer:
    """Builds BTF record by record."""

    def __init__(self, first_string: int = 0) -> None:
        self.types = b""
        self.strings = b"" if first_string else b"\0"
        self._first_string = first_string

    def name(self, text: str) -> int:
        if not text:
            return 0
        offset = self._first_string + len(self.strings)
        self.strings += text.encode() + b"\0"
        return offset

    def add(
        self,
        kind: int,
        name: str = "",
        value: int = 0,
        *extra: int,
        vlen: int = 0,
        flag: bool = False,
    ) -> None:
        info = kind << 24 | vlen | flag << 31
        words = (self.name(name), info, value, *extra)
        self.types += struct.pack(f"<{len(words)}I", *words)

    def data(self, order: str = "<") -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        types = self.types
        if order == ">":
            words = struct.unpack(f"<{len(types) // 4}I", types)
            types = struct.pack(f">{len(words)}I", *words)
        return struct.pack(order + "HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + types + self.strings


def integer(writer: Writer) -> None:
    writer.add(Kind.INT, "int", 4, 1 << 24 | 32)


def test_big_endian() -> None:
    writer = Writer()
    integer(writer)
    writer.add(Kind.TYPEDEF, "pid_t", 1)
    assert text_of(Btf(writer.data(">")), "pid_t") == "typedef int pid_t;"


def test_awkward_parameter_names() -> None:
    writer = Writer()
    integer(writer)
    names = ["int", "", "same", "same", "Option<u8>"]
    words = [word for n in names for word in (writer.name(n), 1)]
    writer.add(Kind.FUNC_PROTO, "", 1, *words, vlen=len(names))
    writer.add(Kind.FUNC, "awkward", 2)
    function = Btf(writer.data()).function("awkward")
    assert function is not None
    assert [p.name for p in function.parameters] == ["int_", "arg1", "same", "same_3", "arg4"]


def test_functions_of_one_name_that_differ() -> None:
    writer = Writer()
    integer(writer)
    writer.add(Kind.FUNC_PROTO, "", 1)
    writer.add(Kind.FUNC_PROTO, "", 0)
    for prototype in (2, 2, 3):
        writer.add(Kind.FUNC, "twice" if prototype == 2 else "differs", prototype)
    writer.add(Kind.FUNC, "differs", 2)
    btf = Btf(writer.data())
    assert btf.function("twice") is not None
    assert btf.function("differs") is None


def test_namesakes_are_not_confused() -> None:
    writer = Writer()
    integer(writer)
    writer.add(Kind.STRUCT, "slot", 4, writer.name("a"), 1, 0, vlen=1)
    writer.add(Kind.STRUCT, "slot", 8, writer.name("b"), 1, 0, vlen=1)
    writer.add(Kind.TYPEDEF, "alias", 1)
    writer.add(Kind.PTR, "", 2)
    writer.add(Kind.PTR, "", 3)
    btf = Btf(merge_names(writer))
    assert btf.declaration(5, "p") == "struct slot *p"
    assert btf.declaration(6, "p") == "void *p"
    assert [m.name for m in btf.members(6)] == ["b"]


def merge_names(writer: Writer) -> bytes:
    """Let all types called slot share one string, as pahole does."""
    first = writer.strings.index(b"slot\0")
    second = writer.strings.index(b"slot\0", first + 1)
    old, new = struct.pack("<I", second), struct.pack("<I", first)
    writer.types = writer.types.replace(old, new)
    return writer.data()


def test_split_btf_of_a_module(btf: Btf, compiled: Path) -> None:
    base_node = btf.type_named("struct node")
    assert base_node is not None
    writer = Writer(btf.string_end)
    writer.add(Kind.PTR, "", base_node)
    parameter = (writer.name("node"), len(btf))
    writer.add(Kind.FUNC_PROTO, "", 0, *parameter, vlen=1)
    writer.add(Kind.FUNC, "module_function", len(btf) + 1)
    module = Btf(writer.data(), base=btf)
    function = module.function("module_function")
    assert function is not None
    assert module.prototype(function) == "void module_function(struct node *node)"
    assert module.function("plain") is not None
    assert btf.function("module_function") is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"\x7fELF" + bytes(60), "begins with 7f454c46"),
        (struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, 4096, 4096, 1), "speaks of"),
    ],
)
def test_not_btf(data: bytes, says: str) -> None:
    with pytest.raises(TargetError, match=says) as caught:
        Btf(data)
    assert caught.value.hint


def test_unknown_kind_names_it() -> None:
    writer = Writer()
    integer(writer)
    writer.add(25)
    with pytest.raises(TargetError, match="type 2 is of kind 25, newer than this kpmagic"):
        Btf(writer.data())


def test_type_cut_off() -> None:
    writer = Writer()
    writer.add(Kind.STRUCT, "s", 4, vlen=2)
    with pytest.raises(TargetError, match="type 1 is cut off"):
        Btf(writer.data())


def test_variadic() -> None:
    writer = Writer()
    integer(writer)
    writer.add(Kind.FUNC_PROTO, "", 1, writer.name("count"), 1, 0, 0, vlen=2)
    writer.add(Kind.FUNC, "sum", 2)
    btf = Btf(writer.data())
    function = btf.function("sum")
    assert function is not None
    assert [p.name for p in function.parameters] == ["count"]
    assert btf.prototype(function) == "int sum(int count, ...)"


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.CONST, Kind.VOLATILE, Kind.TYPE_TAG])
def test_type_that_contains_itself(kind: Kind) -> None:
    writer = Writer()
    writer.add(kind, "t", 1)
    with pytest.raises(TargetError, match="contains itself"):
        Btf(writer.data()).members(1)


def test_struct_that_contains_itself() -> None:
    writer = Writer()
    writer.add(Kind.STRUCT, "", 4, 0, 1, 0, 0, 1, 0, vlen=2)
    btf = Btf(writer.data())
    with pytest.raises(TargetError, match=r"contains itself|too many members"):
        btf_tree.tree(btf, 1)
    assert btf.members(1) == ()


def test_prototype_that_contains_itself_twice() -> None:
    writer = Writer()
    writer.add(Kind.PTR, "", 2)
    writer.add(Kind.FUNC_PROTO, "", 0, 0, 1, 0, 1, vlen=2)
    with pytest.raises(TargetError, match="contains itself"):
        Btf(writer.data()).declaration(1, "x")


def use(data: bytes) -> None:
    """Ask for everything; TargetError is the one way to fail."""
    btf = Btf(data)
    for name in btf.names(Kind.FUNC):
        btf.function(name)
    for type_id in range(len(btf)):
        btf.declaration(type_id, "x")
        btf.members(type_id)
        btf.enumerators(type_id)
        btf.size(type_id)
        list(btf_tree.tree(btf, type_id, 3, 2).lines())


@settings(max_examples=200, deadline=None)
@given(choice=st.data())
def test_damaged_btf_raises_only_target_error(choice: st.DataObject, compiled: Path) -> None:
    data = bytearray(compiled.read_bytes())
    for _ in range(choice.draw(st.integers(1, 8))):
        data[choice.draw(st.integers(0, len(data) - 1))] = choice.draw(st.integers(0, 255))
    end = choice.draw(st.sampled_from([len(data), len(data) - 1, len(data) // 2]))
    with contextlib.suppress(TargetError):
        use(bytes(data[:end]))
