"""A matrix on as many tiles as it needs: inputs are split, partial outputs summed digitally,
outputs concatenated.

`AnalogLayer` and `engine.linalg.AnalogMatrix` make grids. Tiles lie in the order of their rows, then
of their columns: tile k holds block (k // n, k % n) of the matrix, n = len(in_sizes)."""

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

# Six float32 numbers at least: the weight, the constants of its device and its gradient.
BYTES_PER_CELL = 6 * 4


def split(size: int, largest: int) -> list[int]:
    """Sizes as equal as possible, the larger ones first, none above `largest` (0 = no limit)."""
    parts = 1
    if largest > 0:
        parts = math.ceil(size / largest)
    smaller, remainder = divmod(size, parts)
    larger = smaller + 1
    return [larger] * remainder + [smaller] * (parts - remainder)


class TileGrid(nn.Module):
    """An O x I matrix, with its bias, on a grid of tiles. x [.., I] gives y [.., O]."""

    # Whose grid it is, for errors.
    layer = "a layer on tiles"

    def __init__(
        self,
        out: int,
        inputs: int,
        spec: TileSpec,
        *,
        bias: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if min(out, inputs) < 1:
            raise ValueError(
                f"a layer has 1 output and 1 input at least, not {out} and {inputs}"
            )
        cells = out * inputs
        require_memory(BYTES_PER_CELL * cells, f"a matrix of {out} x {inputs} cells")

        mapping = spec.mapping
        # An analog bias is one more column of cells, whose input is always 1.
        self.analog_bias = bias and not mapping.digital_bias
        self.in_sizes = split(inputs + self.analog_bias, mapping.max_input_size)
        self.out_sizes = split(out, mapping.max_output_size)

        self.tiles = nn.ModuleList()
        for row, rows in enumerate(self.out_sizes):
            for column, columns in enumerate(self.in_sizes):
                tile_id = TileId.of_layer(seed, row, column)
                tile = AnalogTile(
                    rows,
                    columns,
                    spec,
                    seed=seed,
                    tile_id=tile_id,
                )
                self.tiles.append(tile)

        self.bias: nn.Parameter | None = None
        if bias and not self.analog_bias:
            self.bias = nn.Parameter(torch.zeros(out, dtype=torch.float32))

    @property
    def has_bias(self) -> bool:
        """Whether outputs have a bias, on cells or digital."""
        return self.analog_bias or self.bias is not None

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2 and x.dtype is torch.float32 and not self.analog_bias:
            return self.product(x)
        if x.dtype is not torch.float32:
            check_plain(x, self.layer)
        # Physics is computed in float32, whatever the activations are.
        rows = x.to(torch.float32).reshape(-1, x.shape[-1])
        if self.analog_bias:
            ones = rows.new_ones(rows.shape[0], 1)
            rows = torch.cat([rows, ones], 1)
        y = self.product(rows)
        return y.view(*x.shape[:-1], sum(self.out_sizes)).to(x.dtype)

    def product(self, rows: Tensor) -> Tensor:
        """y [B, O] in float32 of rows [B, I] in float32, with a last column of ones for an analog
        bias."""
        # Past nn.Module's own search for attributes, which takes longer than a small product.
        listed: Any = self._modules["tiles"]
        tiles = listed._modules
        bias = self._parameters.get("bias")
        if len(tiles) == 1:
            y: Tensor = tiles["0"](rows, bias)
            return y
        n = len(self.in_sizes)
        parts = rows.split(self.in_sizes, 1)
        outs = [tile(parts[k % n]) for k, tile in enumerate(tiles.values())]
        # Partial outputs are added from left to right: float32 sums depend on the order.
        sums = []
        for first in range(0, len(outs), n):
            others = outs[first + 1 : first + n]
            sums.append(sum(others, outs[first]))
        y = torch.cat(sums, 1)
        return y if bias is None else y + bias

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes the logical matrix [O, I] onto the tiles, and the bias [O], which stays as it is
        where none is given. Raises ValueError or TypeError for what does not fit."""
        out = sum(self.out_sizes)
        inputs = sum(self.in_sizes) - self.analog_bias
        weight = fitting(weight, (out, inputs), "the weight")
        if bias is not None:
            if not self.has_bias:
                raise ValueError("a bias was given to a layer without one (bias=False)")
            bias = fitting(bias, (out,), "the bias")

        # From here on everything fits: nothing is written before.
        if self.analog_bias:
            if bias is None:
                bias = self.get_weights()[1]
            assert bias is not None
            column = bias.to(weight).view(-1, 1)
            weight = torch.cat([weight, column], 1)
        elif self.bias is not None and bias is not None:
            self.bias.data.copy_(bias)

        tiles = analog_tiles(self)
        for rows in weight.split(self.out_sizes, 0):
            for block in rows.split(self.in_sizes, 1):
                next(tiles).set_weights(block)

    def room(self) -> Tensor:
        """The weights of the first tile: on a grid of one tile, room for the whole matrix."""
        first: AnalogTile = next(iter(self.tiles))  # type: ignore[assignment]
        return first.tile.weight.data

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical matrix [O, I] and the bias [O], on cells or digital."""
        blocks = [tile.get_weights() for tile in analog_tiles(self)]
        rows = []
        n = len(self.in_sizes)
        for first in range(0, len(blocks), n):
            row = blocks[first : first + n]
            rows.append(torch.cat(row, 1))
        weight = torch.cat(rows, 0)
        if self.analog_bias:
            return weight[:, :-1], weight[:, -1]
        if self.bias is None:
            return weight, None
        return weight, self.bias.data.clone()
