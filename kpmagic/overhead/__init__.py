# SPDX-License-Identifier: MIT
"""``%kp mechanisms``: what a hit of a probe costs, by each way into the kernel."""
