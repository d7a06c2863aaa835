# SPDX-License-Identifier: MIT
"""What each expression of a body is, asked of clang: its column, its safe C, or what is wrong."""
