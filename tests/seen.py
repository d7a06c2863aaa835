# SPDX-License-Identifier: MIT
"""What a plot or an export needs of a run, built by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kpmagic.stats import Stats

START = 1_763_900_000_123_456_789  # ns; 2025-11-23 12:13:20 UTC


@dataclass
class Seen:
    """A run that is nothing but values."""

    frame: pd.DataFrame
    aggregates: dict[str, pd.DataFrame] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)
    name: str = "vfs_read"
    losses: tuple[tuple[int, int, int], ...] = ()

    def df(self, engine: str = "pandas") -> pd.DataFrame:
        assert engine == "pandas"
        return self.frame


def rows(count: int, *, step: int = 1000, comm: str = "sh", **columns: Any) -> pd.DataFrame:
    """Rows ``step`` ns apart."""
    return pd.DataFrame({
        "time": pd.to_datetime(START + step * np.arange(count)),
        "cpu": np.zeros(count, np.int32), "pid": np.full(count, 7, np.int32),
        "tid": np.full(count, 8, np.int32), "comm": pd.Categorical([comm] * count),
        **columns,
    })  # fmt: skip


def seen(count: int, **columns: Any) -> Seen:
    """A run of so many rows, none lost."""
    return Seen(rows(count, **columns), stats=Stats(hits=count, rows=count))
