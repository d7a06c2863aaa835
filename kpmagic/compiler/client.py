# SPDX-License-Identifier: MIT
"""The notebook's end of the compiler process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from typing import Any

from kpmagic.compiler.toolchain import Headers, bpf_directory
from kpmagic.errors import BuildError

SECONDS = 20.0


class Compiler:
    """A confined clang for one kernel's types: `analyse` and `compile`, from any thread."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.version = f"clang {headers.clang.version}"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def analyse(self, text: str, function: str) -> dict[str, Any]:
        """Describe a function of ``text``: diagnostics, edits, calls. Raises BuildError."""
        arguments = self.headers.arguments
        return self._ask(
            {"do": "analyse", "text": text, "arguments": arguments, "function": function}
        )

    def compile(self, text: str) -> bytes:
        """Return ``text`` as a BPF object. Raises BuildError with clang's own words."""
        arguments = self.headers.arguments
        answer = self._ask(
            {"do": "compile", "text": text, "arguments": arguments, "seconds": SECONDS - 1}
        )
        return base64.b64decode(answer["object"])

    def start(self) -> None:
        """Start the process, and have it load the kernel's types, before they are needed."""
        self.analyse("static void nothing(void) {}", "nothing")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # what a process that ended had not read cannot be written any more
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            process.kill()
            process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                answer = self._exchange(request)
            except BaseException:
                self.close()
                raise
        if "failed" in answer:
            raise BuildError(answer["failed"])
        return answer

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._spawn()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise _crashed(process) from None
        return self._read(process, time.monotonic() + SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes]:
        clang = self.headers.clang
        readable = [
            "/usr",
            "/lib",
            "/lib64",
            "/bin",
            "/etc/ld.so.cache",
            "/dev/null",
            str(self.headers.directory),
            str(bpf_directory()),
        ]
        command = [
            sys.executable,
            "-I",
            "-m",
            "kpmagic.compiler.worker",
            clang.program,
            clang.library,
            *readable,
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
        )
        self._process = process
        self._unread = b""
        self._read(process, time.monotonic() + SECONDS)  # it is ready
        return process

    def _read(self, process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
        """Return the next line of the process as a message."""
        assert process.stdout is not None
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise BuildError(
                    f"the compiler took longer than {SECONDS:.0f} s and was stopped",
                    hint="make the body smaller: fewer or shorter loops",
                )
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                raise _crashed(process)
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def _crashed(process: subprocess.Popen[bytes]) -> BuildError:
    code = process.wait(timeout=5)
    return BuildError(
        f"the compiler process ended ({'signal' if code < 0 else 'exit code'} "
        f"{abs(code)}); the next cell starts a new one",
        hint="python -m kpmagic doctor checks clang and libclang",
    )
