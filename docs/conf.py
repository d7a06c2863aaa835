# SPDX-License-Identifier: MIT
"""How Sphinx makes the site: ``make docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

import kpmagic

project = "kpmagic"
author = "the kpmagic developers"
copyright = "the kpmagic developers; MIT"
release = kpmagic.__version__
html_title = "kpmagic"
html_theme = "furo"
html_static_path = ["_static"]
html_copy_source = False
html_show_sourcelink = False
extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # an option is --for, with two of them
exclude_patterns = ["_static"]

reference.write(Path(__file__).parent / "reference")
