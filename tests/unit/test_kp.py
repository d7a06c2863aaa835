# SPDX-License-Identifier: MIT
"""Lines of %kp, as far as they need no kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import running

import kpmagic
from kpmagic import build
from kpmagic.errors import CellError, RecordingError
from kpmagic.kp.commands import run_line
from kpmagic.session import session
from kpmagic.standalone import write


def test_an_export_goes_where_a_shell_would_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places: list[Path] = []

    def export(run: Any, language: str, folder: Path, kernel: Any) -> Path:
        places.append(folder)
        return folder

    run = running("shown")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(write, "export", export)
    monkeypatch.setattr(build, "compiler_of", lambda *_: None)
    monkeypatch.setattr(session, "connection", lambda: run.connection)
    monkeypatch.setattr(run.connection, "facts", lambda _: None)
    session.add(run)
    try:
        for place in ("", " ~/here", " there"):
            run_line(f"export shown --as bpftrace{place}")
        with pytest.raises(RecordingError, match="is no path"):
            run_line("export shown --as bpftrace ~nobody-is-called-so/here")
    finally:
        session.remove(run)
    assert places == [Path(), tmp_path / "here", Path("there")]


@pytest.mark.parametrize("what", [7, None, ["vfs_read"]])
def test_a_trampoline_is_of_a_run(what: Any) -> None:
    with pytest.raises(CellError, match="is no probe of kpmagic's"):
        kpmagic.trampoline(what)
