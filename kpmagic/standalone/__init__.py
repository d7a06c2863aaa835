# SPDX-License-Identifier: MIT
"""A probe's cell as source that does the same without kpmagic: %kp export."""
