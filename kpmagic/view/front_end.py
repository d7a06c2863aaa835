# SPDX-License-Identifier: MIT
"""Who looks at what is shown: somebody at a notebook or a terminal, or nobody."""

from __future__ import annotations

import os

from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell

NONINTERACTIVE = "KPMAGIC_NONINTERACTIVE"


def has_displays(shell: InteractiveShell) -> bool:
    """Whether an output can be changed after it was shown: in notebooks, not in terminals."""
    return getattr(shell, "kernel", None) is not None


def is_headless(shell: InteractiveShell) -> bool:
    """Whether nobody sits there who could interrupt: nbclient and its kin allow no input."""
    if os.environ.get(NONINTERACTIVE):
        return True
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and not getattr(kernel, "_allow_stdin", True)


def nobody_looks() -> bool:
    """Whether a widget would only be saved, and never be used: its text is what is wanted then."""
    shell = get_ipython()
    return shell is not None and is_headless(shell)
