# SPDX-License-Identifier: MIT
"""Each lesson runs live and from its recording, shows what it says, and judges answers rightly."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lessons import LESSONS, NOTEBOOKS, Answers, Lesson
from nbclient.exceptions import CellExecutionError
from programs import hidden

from kpmagic.teach import judging

LARGEST = 500_000  # bytes of a notebook, and of all recordings of one
PLACES = re.compile(rb"/home/|/root/|/work/|/var/tmp/|/Users/")  # of somebody's machine
# a short name is found in anything
HOST = re.compile(re.escape(socket.gethostname().ljust(6, "\0")).encode())
ALL = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)


@ALL
def test_the_file_is_as_it_should_be(lesson: Lesson) -> None:
    raw = lesson.path.read_bytes()
    assert len(raw) < LARGEST
    assert not PLACES.search(raw)
    assert not HOST.search(raw)
    nbformat.validate(lesson.notebook)
    assert "widgets" not in lesson.notebook.metadata
    assert all(not cell.outputs and cell.execution_count is None for cell in lesson.code)
    assert len({cell.id for cell in lesson.notebook.cells}) == len(lesson.notebook.cells)


@ALL
def test_it_opens_with_a_check_and_ends_in_exercises(lesson: Lesson) -> None:
    assert f'teach.lesson("{lesson.number}"' in lesson.code[0].source
    asked = re.findall(r'teach\.check\("([\d.]+)", \w+', "\n".join(c.source for c in lesson.code))
    assert asked == [f"{lesson.number}.{1 + index}" for index in range(len(asked))]
    assert len(asked) in (2, 3)
    assert [each.exercise for each in lesson.answers] == asked
    assert {"teach.check" in cell.source for cell in lesson.code[-len(asked) :]} == {True}


@ALL
def test_links_lead_somewhere(lesson: Lesson) -> None:
    text = "\n".join(c.source for c in lesson.notebook.cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (NOTEBOOKS / link).exists(), link


@ALL
def test_the_recording_is_small_and_nobodys(lesson: Lesson) -> None:
    files = list(lesson.recording.iterdir())
    assert sum(file.stat().st_size for file in files) < LARGEST
    for file in files:
        found = file.read_bytes()
        assert not PLACES.search(found), file
        assert not HOST.search(found), file


@ALL
def test_exercises_say_what_they_want(lesson: Lesson) -> None:
    for answers in lesson.answers:
        verdict = judging.check(answers.exercise, ...)
        assert not verdict
        assert "not answered yet" in repr(verdict)
        for nonsense in (None, "", "nonsense", -1, [], {}, object()):
            verdict = judging.check(answers.exercise, nonsense, *[None for _ in answers.seen])
            assert not verdict
            assert verdict.hint


def text_of(cell: Any) -> str:
    """Return all that a cell showed."""
    shown = []
    for output in cell.outputs:
        if output.output_type == "stream":
            shown.append(output.text)
        elif output.output_type == "error":
            shown.append("\n".join(output.traceback))
        else:
            shown.append(output.data.get("text/plain") or " ".join(output.data))
    return "\n".join(shown)


def run(lesson: Lesson, notebook: Any) -> None:
    """Run the cells from the top; check what they show."""
    shows = dict(lesson.expected["shows"])
    for cell in lesson.code:
        cell = notebook.execute(cell)
        shown = text_of(cell)
        expected = shows.pop(cell.id, "")
        assert re.search(expected, shown, re.MULTILINE), f"{cell.id}: {expected}\n{shown}"
        if "raises-exception" in cell.metadata.get("tags", ()):
            assert [out for out in cell.outputs if out.output_type == "error"], cell.source
    assert not shows, "there are no such cells"


def verdict(notebook: Any, answers: Answers, answer: str) -> tuple[bool, str]:
    """Give an answer in the lesson's notebook; return whether it is right, and the hint."""
    notebook.run(answer if answer.startswith("%%") else f"mine = ({answer})")
    seen = "".join(f", {name}" for name in answers.seen)
    said = notebook.run(f'repr(teach.check("{answers.exercise}", mine{seen}))').outputs[-1]
    text = str(said.data["text/plain"])
    return text.startswith("'✓"), text


def judge(lesson: Lesson, notebook: Any, live: bool) -> None:
    """Give the right and the wrong answers; from a recording only those that probe nothing."""
    for answers in lesson.answers:
        for answer in answers.right:
            if live or not answer.startswith("%%"):
                assert verdict(notebook, answers, answer)[0], (answers.exercise, answer)
        for answer in answers.wrong:
            if live or not answer.startswith("%%"):
                right, text = verdict(notebook, answers, answer)
                assert not right, (answers.exercise, answer, text)


@ALL
@pytest.mark.timeout(400)
def test_live(lesson: Lesson, fetched_kernel: str, open_lesson: Any) -> None:
    notebook = open_lesson(lesson)
    notebook.run("%load_ext kpmagic")
    notebook.run(f"%kp target sandbox --kernel {fetched_kernel}")
    run(lesson, notebook)
    assert notebook.value("__import__('kpmagic').session.session.name") == "'sandbox'"
    judge(lesson, notebook, live=True)


@ALL
@pytest.mark.timeout(120)
def test_from_the_recording(lesson: Lesson, open_lesson: Any, tmp_path: Path) -> None:
    nowhere = tmp_path / "no programs"
    nowhere.mkdir()
    notebook = open_lesson(lesson, KPMAGIC_TARGET="replay", PATH=str(nowhere),
                           KPMAGIC_CACHE=str(tmp_path / "cache"))  # fmt: skip
    run(lesson, notebook)
    judge(lesson, notebook, live=False)
    assert not (tmp_path / "cache" / "kernels").exists()


def test_all_lessons_open_alike() -> None:
    """So what one lesson says where something is missing, all say."""
    openings = [lesson.code[0].source.rpartition("\n")[0] for lesson in LESSONS]
    assert len(LESSONS) == 12
    assert len(set(openings)) == 1


NOT_INSTALLED = "import sys; sys.modules['kpmagic'] = None"


def test_a_lesson_without_kpmagic(open_lesson: Any) -> None:
    notebook = open_lesson(LESSONS[0])
    notebook.run(NOT_INSTALLED)
    error = notebook.fails(LESSONS[0].code[0].source)
    assert error.ename == "ModuleNotFoundError"
    assert "kpmagic is not installed" in error.evalue
    assert "make lab" in error.evalue


def test_a_lesson_without_qemu_plays_its_recording(open_lesson: Any, tmp_path: Path) -> None:
    lesson = LESSONS[0]
    notebook = open_lesson(lesson)
    notebook.run(hidden("qemu-system-x86_64", tmp_path / "bin"))
    shown = text_of(notebook.execute(lesson.code[0]))
    assert "'qemu-system-x86_64' is not installed: sudo apt-get install qemu-system-x86" in shown
    assert "from a recording made on" in shown
    for cell in lesson.code[1:]:
        notebook.execute(cell)


def test_a_kernel_without_the_function(open_lesson: Any, default_kernel: str) -> None:
    notebook = open_lesson(LESSONS[0])
    opening = LESSONS[0].code[0].source.replace('"vfs_read"', '"vfs_raed"')
    error = notebook.fails(opening)
    assert error.ename == "SymbolError"
    shown = "\n".join(error.traceback)
    assert "no function 'vfs_raed'" in shown
    assert "%kp target sandbox --kernel" in shown
    assert "%kp target replay:recordings/01" in shown


def test_cells_out_of_order(open_lesson: Any) -> None:
    lesson = LESSONS[0]
    notebook = open_lesson(lesson, KPMAGIC_TARGET="replay")
    notebook.execute(lesson.code[0])
    with pytest.raises(CellExecutionError):
        notebook.run("reads.plot('scatter', 'latency')")
    shown = text_of(notebook.notebook.cells[-1])
    assert "'reads' is made by a cell further up" in shown
    assert "%%kretprobe vfs_read" in shown
    with pytest.raises(CellExecutionError):
        notebook.run("raeds")
    assert "further up" not in text_of(notebook.notebook.cells[-1])


@ALL
@pytest.mark.timeout(120)
def test_from_the_last_cell_to_the_first(lesson: Lesson, open_lesson: Any) -> None:
    """Each cell works, or says which cell above it was not run, or what kpmagic has against it."""
    notebook = open_lesson(lesson, KPMAGIC_TARGET="replay")
    notebook.execute(lesson.code[0])
    for cell in reversed(lesson.code[1:]):
        with contextlib.suppress(CellExecutionError):
            notebook.execute(cell)
            continue
        shown = text_of(notebook.notebook.cells[-1])
        if re.search("no Python variable|is not defined", shown):
            assert "is made by a cell further up" in shown, f"{cell.id}: {shown}"
        assert "hint:" in shown, f"{cell.id}: {shown}"
