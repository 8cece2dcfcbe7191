"""Torch modules on analog tiles."""

from engine.nn.analog import AnalogTile, analog_tiles, set_exact
from engine.nn.attention import AnalogMultiheadAttention
from engine.nn.calibrate import Calibration, calibrate
from engine.nn.container import AnalogSequential
from engine.nn.conv import AnalogConv1d, AnalogConv2d, AnalogConv3d
from engine.nn.convert import (
    Unconvertible,
    convert_to_analog,
    convert_to_digital,
    exchange_settings,
    named_analog_layers,
)
from engine.nn.layer import AnalogLayer, layer_types
from engine.nn.linear import AnalogLinear
from engine.nn.reading import read_weights
from engine.nn.recurrent import AnalogGRU, AnalogLSTM, AnalogRNN
from engine.nn.summary import analog_summary

__all__ = [
    "AnalogConv1d", "AnalogConv2d", "AnalogConv3d", "AnalogGRU", "AnalogLSTM", "AnalogLayer", "AnalogLinear",
    "AnalogMultiheadAttention", "AnalogRNN", "AnalogSequential", "AnalogTile", "Calibration", "Unconvertible",
    "analog_summary", "analog_tiles", "calibrate", "convert_to_analog", "convert_to_digital", "exchange_settings",
    "layer_types", "named_analog_layers",
    "read_weights", "set_exact",
]  # fmt: skip
