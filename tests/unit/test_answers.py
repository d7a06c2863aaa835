# SPDX-License-Identifier: MIT
"""What is kept beside recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kpmagic
from kpmagic import errors
from kpmagic.answers import (
    FILE,
    Answer,
    Failure,
    add,
    error_of,
    failure_of,
    new_file,
    of_line,
    of_probe,
    read,
)
from kpmagic.cell.syntax import parse_probe
from kpmagic.channel.refusals import VerifierRefusal
from kpmagic.errors import KpmagicError, Place, RecordingError, SymbolError, TargetError
from kpmagic.kp.answering import answered
from kpmagic.session import session


def test_the_newest_answer_of_a_cell_stays(tmp_path: Path) -> None:
    add(tmp_path / "new", Answer("a", "1"))
    add(tmp_path / "new", Answer("b", "2", 3))
    add(tmp_path / "new", Answer("a", "4"))
    assert read(tmp_path / "new" / FILE) == (Answer("b", "2", 3), Answer("a", "4"))
    assert [each.name for each in (tmp_path / "new").iterdir()] == [FILE]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for where in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no")):
        with pytest.raises(RecordingError, match="cannot write to") as caught:
            add(where, Answer("a", "1"))
        assert "KPMAGIC_RECORD" in caught.value.hint


def test_an_error_comes_back_as_what_it_was() -> None:
    place = Place(2, 3, "emit(x);", "In[1]")
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, KpmagicError):
            error = error_of(failure_of(kind("no", hint="do", place=place)))
            assert type(error) is kind
            assert (str(error), error.place) == (str(kind("no", hint="do", place=place)), place)
    assert failure_of(VerifierRefusal("no", "log", "p")).kind == "VerifierError"


@pytest.mark.parametrize("kind", ["OSError", "annotations", "Place", "dataclass", "", "__doc__"])
def test_what_is_no_error_of_ours_is_none(kind: str) -> None:
    assert type(error_of(Failure(kind, "x"))) is KpmagicError


def cell(line: str, body: str | None) -> str:
    return of_probe(parse_probe("kprobe", line, body))


def test_which_cells_are_the_same() -> None:
    one = cell("vfs_read --for 2s", "emit(count);")
    same = ("vfs_read --for 5s -q -o x --name y --buffer 64K", " \nemit(count);  \n\n")
    assert cell(*same) == one
    for line, body in (("vfs_write --for 2s", "emit(count);"), ("vfs_read --for 2s", "emit(pos);"),
                       ("vfs_read --pid 1", "emit(count);"), ("vfs_read", None),
                       ("vfs_read --while ls", "emit(count);"),
                       ("vfs_read -D A=1", "emit(count);")):  # fmt: skip
        assert cell(line, body) != one


def test_files_are_numbered(tmp_path: Path) -> None:
    first = new_file(tmp_path, "vfs_*,../../etc/passwd")
    assert first == tmp_path / "001-vfs_-etc-passwd.parquet"
    (tmp_path / "041-x.parquet").touch()
    assert new_file(tmp_path, "").name == "042-.parquet"
    for number in (999, 1000):  # none takes another's place, however many there are
        (tmp_path / f"{number}-x.parquet").touch()
        assert new_file(tmp_path, "x").name == f"{number + 1}-x.parquet"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["cell", "text", "value", "failure", "kind"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_other_json_is_refused_or_harmless(tmp_path_factory: Any, plain: Any) -> None:
    path = tmp_path_factory.getbasetemp() / FILE
    path.write_text(json.dumps(plain))
    try:
        answers = read(path)
    except RecordingError:
        return
    assert all(isinstance(each, Answer) for each in answers)


def test_a_replay_says_it_again_without_terminal_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path, Answer(of_line(["run", "ls"]), "a\x1b]0;gotcha\x07\tb\n", 4))
    add(tmp_path, Answer(of_line(["sig", "x"]), failure=failure_of(SymbolError("no x"))))
    before = session._default, session._name
    try:
        kpmagic.use(f"replay:{tmp_path}")

        def never(words: list[str]) -> None:
            raise AssertionError

        assert answered("run", ["ls"], never) == 4
        assert capsys.readouterr().out == "a       b\n"
        with pytest.raises(SymbolError, match="no x"):
            answered("sig", ["x"], never)
        with pytest.raises(TargetError, match="no recording of '%kp sig y': there is %kp run ls"):
            answered("sig", ["y"], never)
    finally:
        session.close()
        session._default, session._name = before
