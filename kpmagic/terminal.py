# SPDX-License-Identifier: MIT
"""Text without what a terminal would take for orders."""

from __future__ import annotations

import re

# ECMA-48: CSI … final byte, OSC … BEL or ST, and the two-byte sequences
CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_codes(text: str) -> str:
    """Return ``text`` without terminal codes and control characters; lines and tabs stay."""
    return _CONTROL.sub("", CODES.sub("", text))
