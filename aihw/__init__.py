"""Experiments with analog in-memory computing, from Python: layers on tiles, their optimizer,
devices and presets by name, conversion of networks, analog inference, recorded runs.

    import aihw

    model = aihw.convert_to_analog(network, "ecram")
    optimizer = aihw.AnalogSGD(model.parameters(), lr=0.05)

What is named here stays; the packages behind it (`engine`, `aihw_cli`) may change.
"""

from aihw import _inside  # first: it says which `engine` the imports below find
from aihw.runs import find_runs, load_run
from engine.inference import InferenceSpec, program, restore
from engine.nn import (
    AnalogConv1d,
    AnalogConv2d,
    AnalogConv3d,
    AnalogGRU,
    AnalogLayer,
    AnalogLinear,
    AnalogLSTM,
    AnalogMultiheadAttention,
    AnalogRNN,
    AnalogSequential,
    analog_summary,
    analog_tiles,
    calibrate,
    convert_to_analog,
    convert_to_digital,
    exchange_settings,
    named_analog_layers,
    read_weights,
)
from engine.optim import (
    AnalogOptimizer,
    AnalogSGD,
    digital_parameters,
    pulsed_parameters,
)
from engine.presets import inference, preset
from engine.settings import UserError
from engine.tile.settings import TileSpec

__version__ = _inside.version()

__all__ = [
    "AnalogConv1d",
    "AnalogConv2d",
    "AnalogConv3d",
    "AnalogGRU",
    "AnalogLSTM",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogMultiheadAttention",
    "AnalogOptimizer",
    "AnalogRNN",
    "AnalogSGD",
    "AnalogSequential",
    "InferenceSpec",
    "TileSpec",
    "UserError",
    "analog_summary",
    "analog_tiles",
    "calibrate",
    "convert_to_analog",
    "convert_to_digital",
    "digital_parameters",
    "exchange_settings",
    "find_runs",
    "inference",
    "load_run",
    "named_analog_layers",
    "preset",
    "program",
    "pulsed_parameters",
    "read_weights",
    "restore",
]
