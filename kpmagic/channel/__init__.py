# SPDX-License-Identifier: MIT
"""The notebook's end of the channel to an agent."""
