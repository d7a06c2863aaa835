# SPDX-License-Identifier: MIT
"""What is sent to a target runs on its Python, which may be 3.9: README.md says so."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpmagic.agent import wire
from kpmagic.agent.channel import open_channel
from kpmagic.targets import archive, landing, rights, runtime

OLDEST = (3, 9)
NEWER = {
    "contextlib": {"aclosing", "chdir"},
    "datetime": {"UTC"},
    "enum": {"StrEnum"},
    "hashlib": {"file_digest"},
    "itertools": {"batched", "pairwise"},
    "os": {"eventfd", "setns", "splice", "unshare"},
    "sys": {"exception", "orig_argv", "stdlib_module_names"},
    "types": {"NoneType", "UnionType"},
    "typing": {"Concatenate", "LiteralString", "Never", "NotRequired", "ParamSpec", "Required",
               "Self", "TypeAlias", "TypeGuard", "TypeIs", "TypeVarTuple", "Unpack",
               "assert_never", "assert_type", "override", "reveal_type"},
}  # fmt: skip
MODULES = {"tomllib", "compression", "annotationlib"}
BUILT_IN = {"aiter", "anext", "BaseExceptionGroup", "EncodingWarning", "ExceptionGroup"}
METHODS = {"add_note", "bit_count"}
KEYWORDS = {"dataclass": {"slots", "kw_only"}, "glob": {"root_dir", "dir_fd"}, "zip": {"strict"}}
ASKED_FOR = {("outlet.py", "os.splice")}  # open_channel() looks whether it is there


def sent() -> dict[str, str]:
    """Return the sources that a target's Python gets, by name."""
    with zipfile.ZipFile(io.BytesIO(archive.agent_archive())) as agent:
        found = {name: agent.read(name).decode() for name in agent.namelist()}
    for module in (landing, rights):
        found[Path(module.__file__).name] = Path(module.__file__).read_text()
    return found | {"COMPILE": archive.COMPILE, "COLLECT": runtime.COLLECT}


def newer(source: str) -> list[str]:
    """Return what of a source Python 3.9 has not."""
    tree = ast.parse(source, feature_version=OLDEST)
    return [said for node in run(tree) for said in too_new(node)]


def run(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is run: no annotations, nothing that is for a type checker only."""
    yield tree
    skipped = [getattr(tree, "annotation", None), getattr(tree, "returns", None)]
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        skipped += tree.body
    for child in ast.iter_child_nodes(tree):
        if child not in skipped:
            yield from run(child)


def too_new(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names if each.name.partition(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module), names=names):
            found = NEWER.get(module, set())
            yield from (f"{module}.{each.name}" for each in names if each.name in found)
            yield from [module] * (module in MODULES)
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NEWER.get(module, ()):
            yield f"{module}.{name}"
        case ast.Attribute(attr=name) if name in METHODS:
            yield f".{name}()"
        case ast.Name(id=name) if name in BUILT_IN:
            yield name
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), keywords=keywords):
            found = KEYWORDS.get(name, set())
            yield from (f"{name}({each.arg}=)" for each in keywords if each.arg in found)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right) if is_type(left) or is_type(right):
            yield ast.unparse(node)


def is_type(node: ast.expr) -> bool:
    """Whether ``|`` of it would be one of types: a class by its name, or None."""
    match node:
        case ast.Constant(value=None) | ast.Subscript(value=ast.Name(id="list" | "dict" | "set")):
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            is_class = name[:1].isupper() and not name.isupper()
            return is_class or name in {"bool", "bytes", "float", "int", "list", "str", "tuple"}
    return False


@pytest.mark.parametrize("name", sent())
def test_nothing_newer_is_used(name: str) -> None:
    source = sent()[name]
    found = {each for each in newer(source) if (Path(name).name, each) not in ASKED_FOR}
    assert not found
    if " | " in source and name not in ("COMPILE", "COLLECT"):
        assert "from __future__ import annotations" in source, "else they are evaluated"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from typing import Self", ["typing.Self"]),
        ("if TYPE_CHECKING:\n    from typing import Self", []),
        ("Event = Mapped | Forked", ["Mapped | Forked"]),
        ("isinstance(a, int | None)", ["int | None"]),
        ("def f(a: int | None) -> str | None: b: int | None = A | B_C", []),
        ("zip(a, b, strict=True)", ["zip(strict=)"]),
        ("os.splice(a, b, 1)", ["os.splice"]),
        ("a.bit_count()", [".bit_count()"]),
        ("import tomllib", ["tomllib"]),
        ("@dataclass(frozen=True, slots=True)\nclass A: pass", ["dataclass(slots=)"]),
        ("try: pass\nexcept ExceptionGroup: pass", ["ExceptionGroup"]),
    ],
)
def test_what_is_newer_is_seen(source: str, found: list[str]) -> None:
    assert newer(source) == found


@pytest.mark.parametrize("source", ["match a:\n    case 1: pass", "type A = int"])
def test_newer_words_are_seen(source: str) -> None:
    with pytest.raises(SyntaxError):
        newer(source)


IMPORT = """\
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("python", ["python3.9", "python3.10", sys.executable])
def test_it_can_be_imported(python: str, tmp_path: Path) -> None:
    try:
        subprocess.run([python, "-V"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no {python} here")
    path = tmp_path / "agent.pyz"
    path.write_bytes(archive.agent_archive())
    names = [name[:-3].replace("/", ".") for name in sent() if name.startswith("kpmagic/agent/")]
    command = [python, "-I", "-S", "-c", IMPORT, str(path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_port_does_without_pages_where_they_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "splice", raising=False)
    os.mkfifo(tmp_path / "port")
    channel = open_channel(str(tmp_path / "port"))
    channel.send(wire.LOG, 7, b"{}")
    assert channel.flush()
    assert [each.run for each in channel.receive()] == [7]
    os.close(channel.sink)
