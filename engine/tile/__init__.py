"""Tiles: one crossbar each, cells plus periphery."""
