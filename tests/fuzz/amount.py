# SPDX-License-Identifier: MIT
"""How much is tried: a little with the other tests, all of it with ``make fuzz``."""

from __future__ import annotations

import os
import random

FULL = os.environ.get("KPMAGIC_FUZZ") == "full"
SEED = int(os.environ.get("KPMAGIC_SEED", "0")) or random.randrange(1 << 32)
