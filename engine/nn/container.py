"""A sequence of layers that knows its analog tiles."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from engine.nn.analog import AnalogTile, analog_tiles


class AnalogSequential(nn.Sequential):
    """torch's Sequential, with `analog_tiles()`."""

    def analog_tiles(self) -> Iterator[AnalogTile]:
        return analog_tiles(self)
