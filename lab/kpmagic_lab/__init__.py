# SPDX-License-Identifier: MIT
"""C highlighting of kpmagic's cells in JupyterLab; the extension itself is JavaScript."""

__version__ = "0.1.0"
