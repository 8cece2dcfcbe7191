"""Torch modules on analog tiles."""

from engine.nn.analog import AnalogTile, analog_tiles, set_exact
from engine.nn.container import AnalogSequential
from engine.nn.conv import AnalogConv2d
from engine.nn.linear import AnalogLinear

__all__ = ["AnalogConv2d", "AnalogLinear", "AnalogSequential", "AnalogTile", "analog_tiles", "set_exact"]
