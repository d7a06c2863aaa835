# SPDX-License-Identifier: MIT
"""Kernel modules: a cell that is one (%%kmodule), and what a probe that is one needs."""
