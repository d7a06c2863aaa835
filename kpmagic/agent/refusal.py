# SPDX-License-Identifier: MIT
"""What the agent answers when it cannot do as asked."""

from __future__ import annotations


class Refused(Exception):
    """An error REPLY: ``kind`` is one of the wire's, ``log`` the kernel's own words.

    ``program`` names the program of the object it is about.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        errno: int | None = None,
        log: str | None = None,
        program: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.error = {
            "kind": kind,
            "message": message,
            "errno": errno,
            "log": log,
            "program": program,
        }


def refused_os(error: OSError, kind: str = "os") -> Refused:
    """Return ``error`` as an answer."""
    where = f"{error.filename}: " if error.filename else ""
    return Refused(kind, f"{where}{error.strerror or error}", errno=error.errno)
