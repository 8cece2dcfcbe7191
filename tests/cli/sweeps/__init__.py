"""Sweeps, clusters and searches."""
