# SPDX-License-Identifier: MIT
"""A run in a file: what is written, and what a reader refuses."""
