# SPDX-License-Identifier: MIT
"""The exercises' judges, a module for each lesson; judging.find imports it when it is asked for."""
