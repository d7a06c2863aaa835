# SPDX-License-Identifier: MIT
"""The agent as one file that any Python 3 runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from kpmagic import agent

MAIN = """\
import sys
from kpmagic.agent.__main__ import main
sys.exit(main(sys.argv))
"""

# zip's earliest date: the same sources give the same bytes
EPOCH = (1980, 1, 1, 0, 0, 0)


def agent_archive() -> bytes:
    """Return the agent as a zip archive for ``python3 -I -S``."""
    folder = Path(next(iter(agent.__path__)))
    files = {f"kpmagic/agent/{path.name}": path.read_text() for path in folder.glob("*.py")}
    files |= {"__main__.py": MAIN, "kpmagic/__init__.py": ""}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return target.getvalue()
