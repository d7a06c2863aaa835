# SPDX-License-Identifier: MIT
"""What a probe has made of the kernel's code: bytes and instructions, before and after."""
