# SPDX-License-Identifier: MIT
"""The only privileged code: it runs on the target and uses the standard library alone."""
