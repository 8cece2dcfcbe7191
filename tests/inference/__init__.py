"""Weights on noisy devices: networks, files, configuration, and the same on a GPU."""
