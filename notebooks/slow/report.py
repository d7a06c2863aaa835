# SPDX-License-Identifier: MIT
"""Count how often each word stands in a log. It is right, and slow: lesson 7 finds out why."""

import os
import sys
import time

LOG = "/tmp/report.log"
LOCK = "/tmp/report.lock"
IGNORED = "/tmp/report.ignored"


def write_log(lines: int) -> None:
    """Make a log to read."""
    with open(LOG, "w") as log:
        for number in range(lines):
            log.write(f"{number} disk {'full' if number % 7 == 0 else 'fine'}\n")
    with open(IGNORED, "w") as words:
        words.write("the a an disk\n")


def read_line(log: int) -> str:
    """Return the next line, read from the file one byte at a time."""
    line = b""
    while (byte := os.read(log, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


def ignored(word: str) -> bool:
    """Whether a word is not to be counted: the list is read each time, it might have changed."""
    with open(IGNORED) as words:
        return word in words.read().split()


def lock() -> None:
    """Wait until nobody else writes a report."""
    while os.path.exists(LOCK):
        time.sleep(0.01)
    time.sleep(0.01)  # to be on the safe side
    os.close(os.open(LOCK, os.O_CREAT))


def main() -> None:
    """Count, and say how long it took."""
    write_log(lines=100)
    counts: dict[str, int] = {}
    started = time.monotonic()
    log = os.open(LOG, os.O_RDONLY)
    while line := read_line(log):
        lock()
        for word in line.split():
            if not ignored(word):
                counts[word] = counts.get(word, 0) + 1
        os.unlink(LOCK)
    seconds = time.monotonic() - started
    print(f"full: {counts['full']}, fine: {counts['fine']}, in {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
