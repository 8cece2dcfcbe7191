"""Recorded runs, read back: found below folders, filtered by their configuration, grouped,
compared."""
