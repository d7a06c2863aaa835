# SPDX-License-Identifier: MIT
"""Objects whose __init__ would ask for a kernel."""

from __future__ import annotations

from typing import Any


def made(kind: type, **values: Any) -> Any:
    """Return one that was never initialised, with these attributes."""
    found = kind.__new__(kind)
    vars(found).update(values)
    return found
