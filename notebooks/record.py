# SPDX-License-Identifier: MIT
"""Record lessons on the sandbox, so that they run again where there is no kernel.

``python notebooks/record.py [NN…]``: all lessons, or those of these numbers. Each runs from top to
bottom; what its cells got is then ``recordings/NN``, and what was there before is gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RECORDINGS = HERE / "recordings"


def lessons(numbers: list[str]) -> list[Path]:
    """Return the notebooks of these numbers; of none, all."""
    found = sorted(HERE.glob("[0-9][0-9]-*.ipynb"))
    return [path for path in found if not numbers or path.name[:2] in numbers]


def record(path: Path) -> int:
    """Run the lesson and keep what it got; return how many bytes that is, -1 when it failed."""
    number = path.name[:2]
    with tempfile.TemporaryDirectory(prefix="kpmagic-lesson-") as folder:
        made = Path(folder) / number
        environment = os.environ | {"KPMAGIC_RECORD": str(made)}
        environment.pop("KPMAGIC_TARGET", None)
        command = [sys.executable, str(HERE / "execute.py"), str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            return -1
        RECORDINGS.mkdir(exist_ok=True)
        shutil.rmtree(RECORDINGS / number, ignore_errors=True)
        shutil.move(made, RECORDINGS / number)
    return sum(file.stat().st_size for file in (RECORDINGS / number).iterdir())


def main(numbers: list[str]) -> int:
    """Record them one after the other; exit code 1 when one failed."""
    failed = 0
    for path in lessons(numbers):
        size = record(path)
        failed |= size < 0
        print(f"{path.name}: {'FAILED' if size < 0 else f'{size / 1000:,.0f} kB'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
