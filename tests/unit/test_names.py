# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from kpmagic.cell.names import column_name
from kpmagic.cell.scope import FIXED_COLUMNS


@pytest.mark.parametrize(
    ("expression", "taken", "name"),
    [
        ("args->flags", (), "flags"),
        ("dentry->d_name.name", (), "name"),
        ("dentry->d_parent->d_name.name", ("name",), "d_name_name"),
        ("dentry->d_parent->d_name.name", ("name", "d_name_name"), "d_parent_d_name_name"),
        ("prev->pid", FIXED_COLUMNS, "prev_pid"),
        ("pid", FIXED_COLUMNS, "arg_pid"),
        ("pid", (*FIXED_COLUMNS, "arg_pid"), "arg_pid_3"),
        ("count", ("count",), "count_3"),
        ("str(filename)", (), "filename"),
        ("1 + 2", (), "value3"),
    ],
)
def test_a_column_is_called_after_its_last_identifier(
    expression: str, taken: tuple[str, ...], name: str
) -> None:
    assert column_name(expression, taken, 3) == name
