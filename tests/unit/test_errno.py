# SPDX-License-Identifier: MIT
"""The names of errors: those that a column shows are those that a body may compare with."""

from __future__ import annotations

import errno
import re

from kpmagic.compiler.toolchain import bpf_directory
from kpmagic.rows.columns import ERRORS

DEFINE = re.compile(r"^#define (E\w+) (\w+)$", re.MULTILINE)


def test_a_body_knows_every_name_that_a_column_shows() -> None:
    given = dict(DEFINE.findall((bpf_directory() / "errno.h").read_text()))
    numbers = {name: int(given.get(value, value)) for name, value in given.items()}
    assert {ERRORS[number] for number in ERRORS} <= numbers.keys()
    assert all(numbers[ERRORS[number]] == number for number in ERRORS)
    assert {name for name in dir(errno) if name.startswith("E")} <= numbers.keys()


def test_of_two_names_the_kernels_is_shown() -> None:
    assert [ERRORS[number] for number in (11, 35, 95, 524)] == [
        "EAGAIN", "EDEADLK", "EOPNOTSUPP", "ENOTSUPP"]  # fmt: skip
