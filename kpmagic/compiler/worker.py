# SPDX-License-Identifier: MIT
"""The confined process that holds clang: lines of JSON in, lines of JSON out.

Started as ``python -I -m kpmagic.compiler.worker CLANG LIBCLANG READABLE…``. Requests:

* ``{"do": "analyse", "text", "arguments", "function"}`` → diagnostics, edits and calls of that
  function (see `expressions`)
* ``{"do": "compile", "text", "arguments", "seconds"}`` → ``{"object": base64}`` or diagnostics text
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

from clang import cindex

from kpmagic.compiler import expressions
from kpmagic.compiler.confine import confine

FILE = "handler.bpf.c"
MEMORY = 4 << 30


def serve(clang: str, libclang: str, readable: list[str]) -> None:
    """Answer requests until the input ends."""
    cindex.Config.set_library_file(libclang)
    cindex.Config.set_compatibility_check(False)
    index = cindex.Index.create(excludeDecls=True)
    confined = confine(readable, memory=MEMORY, cpu_seconds=None)
    _answer({"confined": confined})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "analyse":
                _answer(analyse(index, request))
            else:
                _answer(compile_(clang, request))
        except (cindex.TranslationUnitLoadError, cindex.LibclangError, RecursionError) as error:
            _answer({"failed": f"{type(error).__name__}: {error}"})


def analyse(index: cindex.Index, request: dict[str, Any]) -> dict[str, Any]:
    """Parse a text and describe one function of it."""
    text = request["text"]
    unit = index.parse(FILE, args=request["arguments"], unsaved_files=[(FILE, text)])
    answer: dict[str, Any] = {"diagnostics": [_diagnostic(d) for d in unit.diagnostics]}
    if any(d.severity >= cindex.Diagnostic.Error for d in unit.diagnostics):
        return answer
    walk = expressions.Walk(text.encode())
    for node in unit.cursor.get_children():
        if node.kind == cindex.CursorKind.FUNCTION_DECL and node.spelling == request["function"]:
            for child in node.get_children():
                if child.kind == cindex.CursorKind.COMPOUND_STMT:
                    try:
                        walk.statement(child)
                    except expressions.Refused as error:
                        return {"refused": [error.offset, error.message, error.hint]}
    return answer | {"edits": walk.edits, "calls": walk.calls}


def _diagnostic(diagnostic: cindex.Diagnostic) -> dict[str, Any]:
    return {
        "severity": diagnostic.severity,
        "message": diagnostic.spelling,
        "offset": diagnostic.location.offset,
        "notes": [note.spelling for note in diagnostic.children],
    }


def compile_(clang: str, request: dict[str, Any]) -> dict[str, Any]:
    """Compile a text to a BPF object."""
    command = [clang, *request["arguments"], "-x", "c", "-c", "-o", "-", "-"]
    try:
        done = subprocess.run(
            command,
            input=request["text"].encode(),
            capture_output=True,
            timeout=request["seconds"],
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"clang took longer than {request['seconds']} s"}
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", errors="replace").strip()
        return {"failed": words or f"clang ended with {done.returncode}"}
    return {"object": base64.b64encode(done.stdout).decode("ascii")}


def _answer(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:])
