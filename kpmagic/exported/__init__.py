# SPDX-License-Identifier: MIT
"""What plots and other tools take of a run."""
