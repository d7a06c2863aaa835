# SPDX-License-Identifier: MIT
"""The text of a cell: its magic line, its body, and what each of their words means."""
