"""Moments and distributions, with fixed seeds."""
