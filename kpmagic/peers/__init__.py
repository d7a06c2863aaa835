# SPDX-License-Identifier: MIT
"""Cells that other tracers run: a script goes to the target's own, what it prints comes back."""
