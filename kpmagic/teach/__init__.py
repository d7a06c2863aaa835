# SPDX-License-Identifier: MIT
"""What the lessons in ``notebooks/`` use: ``lesson`` opens one, ``check`` judges its exercises."""

from .judging import Verdict, check
from .opening import lesson

__all__ = ["Verdict", "check", "lesson"]
