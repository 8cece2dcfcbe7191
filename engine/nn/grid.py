"""A matrix on as many tiles as it needs: inputs are split, partial outputs summed digitally,
outputs concatenated."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from engine.memory import require_memory
from engine.nn.analog import AnalogTile, analog_tiles
from engine.tile.inputs import check_plain, fitting
from engine.tile.keys import TileId
from engine.tile.settings import TileSpec

FLOATS = 6


def split(size: int, largest: int) -> list[int]:
    """Sizes as equal as possible, the larger ones first, none above `largest` (0 = no limit)."""
    parts = math.ceil(size / largest) if largest > 0 else 1
    return [size // parts + (k < size % parts) for k in range(parts)]


class TileGrid(nn.Module):
    """An O x I matrix, with its bias, on a grid of tiles. x [.., I] gives y [.., O]."""

    # Whose grid it is, for errors.
    layer = "a layer on tiles"

    def __init__(self, out: int, inputs: int, spec: TileSpec, *, bias: bool, seed: int) -> None:
        super().__init__()
        if min(out, inputs) < 1:
            raise ValueError(f"a layer has 1 output and 1 input at least, not {out} and {inputs}")
        # The weight, the constants of its cell and its gradient: more where a cell remembers more.
        require_memory(4 * FLOATS * out * inputs, f"a matrix of {out} x {inputs} cells")
        mapping = spec.mapping
        self.analog_bias = bias and not mapping.digital_bias
        self.in_sizes = split(inputs + self.analog_bias, mapping.max_input_size)
        self.out_sizes = split(out, mapping.max_output_size)
        self.tiles = nn.ModuleList(
            AnalogTile(o, i, spec, seed=seed, tile_id=TileId.of_layer(seed, row, column))
            for row, o in enumerate(self.out_sizes)
            for column, i in enumerate(self.in_sizes)
        )
        self.bias = (
            nn.Parameter(torch.zeros(out, dtype=torch.float32))
            if bias and not self.analog_bias
            else None
        )

    @property
    def has_bias(self) -> bool:
        return self.analog_bias or self.bias is not None

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2 and x.dtype is torch.float32 and not self.analog_bias:
            return self.product(x)
        if x.dtype is not torch.float32:
            check_plain(x, self.layer)
        # Physics is computed in float32, whatever the activations are.
        rows = x.to(torch.float32).reshape(-1, x.shape[-1])
        if self.analog_bias:
            rows = torch.cat([rows, rows.new_ones(rows.shape[0], 1)], 1)
        return self.product(rows).view(*x.shape[:-1], sum(self.out_sizes)).to(x.dtype)

    def product(self, rows: Tensor) -> Tensor:
        """y [B, O] in float32 of rows [B, I] in float32, with a last column of ones for an analog
        bias."""
        # Past nn.Module's own search for attributes, which takes longer than a small product.
        listed: Any = self._modules["tiles"]
        tiles, bias = listed._modules, self._parameters.get("bias")
        if len(tiles) == 1:
            y: Tensor = tiles["0"](rows, bias)
            return y
        parts, n = rows.split(self.in_sizes, 1), len(self.in_sizes)
        outs = [tile(parts[k % n]) for k, tile in enumerate(tiles.values())]
        y = torch.cat([sum(outs[k + 1 : k + n], outs[k]) for k in range(0, len(outs), n)], 1)
        return y if bias is None else y + bias

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes the logical matrix [O, I] onto the tiles, and the bias [O], which stays as it is
        where none is given. Raises ValueError or TypeError for what does not fit."""
        out = sum(self.out_sizes)
        weight = fitting(weight, (out, sum(self.in_sizes) - self.analog_bias), "the weight")
        if bias is not None:
            if not self.has_bias:
                raise ValueError("a bias was given to a layer without one (bias=False)")
            bias = fitting(bias, (out,), "the bias")
        if self.analog_bias:
            bias = self.get_weights()[1] if bias is None else bias
            assert bias is not None
            weight = torch.cat([weight, bias.to(weight).view(-1, 1)], 1)
        elif self.bias is not None and bias is not None:
            self.bias.data.copy_(bias)
        rows = weight.split(self.out_sizes, 0)
        blocks = [block for row in rows for block in row.split(self.in_sizes, 1)]
        for tile, block in zip(analog_tiles(self), blocks, strict=True):
            tile.set_weights(block)

    def room(self) -> Tensor:
        """The weights of the first tile: on a grid of one tile, room for the whole matrix."""
        first: AnalogTile = next(iter(self.tiles))  # type: ignore[assignment]
        return first.tile.weight.data

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical matrix [O, I] and the bias [O], wherever it lives."""
        blocks = [tile.get_weights() for tile in analog_tiles(self)]
        n = len(self.in_sizes)
        weight = torch.cat([torch.cat(blocks[k : k + n], 1) for k in range(0, len(blocks), n)], 0)
        if self.analog_bias:
            return weight[:, :-1], weight[:, -1]
        return weight, None if self.bias is None else self.bias.data.clone()
