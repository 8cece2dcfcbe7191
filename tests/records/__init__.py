"""Recorded runs: the index, conditions, groups, and `aihw runs`."""
