# SPDX-License-Identifier: MIT
"""The guest that tests share."""

from __future__ import annotations

import kpmagic
from kpmagic.channel.connection import Connection


class Guests:
    """The one guest that runs: another version's is ended first."""

    def __init__(self) -> None:
        self.version = ""
        self.connection: Connection | None = None

    def running(self, version: str) -> Connection:
        """Return a live connection to a guest with this kernel."""
        alive = self.connection is not None and self.connection.alive
        if self.connection is None or not alive or version != self.version:
            self.end()
            self.connection = kpmagic.connect("sandbox", kernel=version)
            self.connection.wait_for_hello()
            self.version = version
        return self.connection

    def end(self) -> None:
        """End the guest."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
