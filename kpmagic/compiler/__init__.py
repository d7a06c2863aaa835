# SPDX-License-Identifier: MIT
"""Clang, kept in a confined process of its own: a crash of it, or a hostile cell, stays there."""
