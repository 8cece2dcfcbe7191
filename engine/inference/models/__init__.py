"""Noise models: what programming, time and reading do to one conductance. One file each, found by
its name."""
