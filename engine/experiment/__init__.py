"""Datasets, networks, the training loop, run folders and checkpoints."""
