# SPDX-License-Identifier: MIT
"""A target whose agent is a script, and the connection to it."""

from __future__ import annotations

from typing import Any

import pytest
from far_end import FarEnd, started, stopped

from kpmagic.channel.connection import Connection


@pytest.fixture
def far() -> Any:
    end = FarEnd({"start": started, "stop": stopped})
    with Connection(end) as connection:
        connection.wait_for_hello()
        yield end, connection
