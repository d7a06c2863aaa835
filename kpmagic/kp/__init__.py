# SPDX-License-Identifier: MIT
"""The subcommands of ``%kp``."""
