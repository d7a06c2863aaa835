# SPDX-License-Identifier: MIT
"""Programs and libraries of the traced processes: whose code an address of a stack is in."""
