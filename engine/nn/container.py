"""A sequence of layers that knows its analog tiles.

A user's network may be built of it where scripts call `model.analog_tiles()`, as with aihwkit."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from engine.nn.analog import AnalogTile, analog_tiles


class AnalogSequential(nn.Sequential):
    """torch's Sequential, with `analog_tiles()`."""

    def analog_tiles(self) -> Iterator[AnalogTile]:
        """Yields all analog tiles of its layers."""
        return analog_tiles(self)
