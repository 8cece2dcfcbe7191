"""Measured devices: what `aihw device fit` says, writes and draws."""
