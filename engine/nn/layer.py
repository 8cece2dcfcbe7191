"""What all layers on tiles share, and how they are found: one file a layer, like devices and algorithms."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.nn.grid import TileGrid
from engine.tile.settings import TileSpec

FOLDER = Path(__file__).parent


class AnalogLayer(nn.Module):
    """A layer whose weights are one matrix on a grid of tiles. `digital` is torch's layer of the same meaning."""

    digital: ClassVar[type[nn.Module]]
    grid: TileGrid
    shape: tuple[int, ...]

    def place(self, shape: tuple[int, ...], *, bias: bool, tile: TileSpec, seed: int | None) -> None:
        """Makes the grid for a weight of `shape` and starts it as torch starts its layers."""
        out, inputs = shape[0], math.prod(shape[1:])
        self.shape = shape
        self.grid = TileGrid(out, inputs, tile, bias=bias, seed=draw_seed(seed))
        weight, start_bias = start_weights(out, inputs, self.grid.room())
        self.grid.set_weights(weight, start_bias if bias else None)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes the logical weight, in the shape that torch's layer has, and the bias [O]."""
        self.grid.set_weights(weight.reshape(self.shape[0], -1), bias)

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical weight, in the shape that torch's layer has, and the bias [O]."""
        weight, bias = self.grid.get_weights()
        return weight.reshape(self.shape), bias

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        """Arguments that make this layer in the place of torch's. Raises ValueError if tiles cannot do it."""
        raise NotImplementedError

    def digital_settings(self) -> dict[str, Any]:
        """Arguments that make torch's layer in the place of this one."""
        raise NotImplementedError


def draw_seed(seed: int | None) -> int:
    """The seed of a layer: given, or drawn from torch's generator, so that torch.manual_seed fixes everything."""
    return int(torch.randint(2**62, ()).item()) if seed is None else seed


def start_weights(out: int, inputs: int, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Torch's start for linear and convolutional layers: uniform within plus or minus 1 / sqrt(inputs).

    The weights are drawn into `room` if it has their shape.
    """
    fits = room is not None and room.shape == (out, inputs)
    weight, bound = room if room is not None and fits else torch.empty(out, inputs), 1 / math.sqrt(inputs)
    nn.init.uniform_(weight, -bound, bound)
    return weight, torch.empty(out).uniform_(-bound, bound)


def layer_types() -> list[type[AnalogLayer]]:
    """Every layer of this folder that stands for one of torch's, by name."""
    found: dict[str, type[AnalogLayer]] = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        for member in vars(importlib.import_module(f"engine.nn.{path.stem}")).values():
            if isinstance(member, type) and issubclass(member, AnalogLayer) and "digital" in vars(member):
                found[member.__name__] = member
    return [found[name] for name in sorted(found)]
