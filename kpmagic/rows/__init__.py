# SPDX-License-Identifier: MIT
"""What a run has gathered as columns: rows, and the tables that the kernel has added up."""
