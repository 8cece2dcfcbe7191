"""A fully connected layer on analog tiles."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.nn.grid import TileGrid
from engine.tile.settings import TileSpec


def draw_seed(seed: int | None) -> int:
    """The seed of a layer: given, or drawn from torch's generator, so that torch.manual_seed fixes everything."""
    return int(torch.randint(2**62, ()).item()) if seed is None else seed


def start_weights(out: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Torch's start for linear and convolutional layers: uniform within plus or minus 1 / sqrt(inputs)."""
    weight, bound = torch.empty(out, inputs), 1 / math.sqrt(inputs)
    nn.init.uniform_(weight, -bound, bound)
    return weight, torch.empty(out).uniform_(-bound, bound)


class AnalogLinear(nn.Module):
    """y = x W^T + b on analog tiles: x [.., in_features] gives y [.., out_features].

    `tile` says what the tiles are made of (`engine.presets.preset`); `seed` fixes devices and noise.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, tile: TileSpec, seed: int | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.grid = TileGrid(out_features, in_features, tile, bias=bias, seed=draw_seed(seed))
        weight, start_bias = start_weights(out_features, in_features)
        self.grid.set_weights(weight, start_bias if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return self.grid(x)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes weight [out_features, in_features] and bias [out_features]."""
        self.grid.set_weights(weight, bias)

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical weight and bias."""
        return self.grid.get_weights()

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
