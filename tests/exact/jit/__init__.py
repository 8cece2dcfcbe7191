"""Kernels on the processors of a machine."""
