"""A matrix on analog tiles for solvers: products with it and its transpose, and updates by pulses.

The tasks of linear algebra use it, and users' own solvers. Vectors are those of linear algebra:
x [I], or several as the columns of [I, K]. Tensors give tensors, NumPy arrays give NumPy arrays, so
`scipy.sparse.linalg.aslinearoperator(matrix)` works where SciPy is there. Inside, they are the rows
of a batch [K, I], as layers have them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.nn.analog import AnalogTile, analog_tiles
from engine.nn.grid import TileGrid
from engine.presets import preset
from engine.tile.inputs import fitting
from engine.tile.settings import TileSpec

# The largest weight of cells without bounds: 1 in the units of their device.
FULL_RANGE = 1.0


class AnalogMatrix(nn.Module):
    """An O x I matrix on tiles of the settings `tile`: a TileSpec, or the name of a preset.

    The largest element takes `tile.mapping.weight_scaling_omega`, or the range of the cells where
    that is 0; cells whose own range is narrower hold less. `seed` fixes devices and noise. Raises
    ValueError for what is no matrix of finite real numbers."""

    dtype = np.dtype(np.float32)  # SciPy asks for it

    def __init__(self, matrix: Any, tile: TileSpec | str, *, seed: int = 0) -> None:
        super().__init__()
        values = _tensor(matrix)
        if values.dim() != 2:
            raise ValueError(f"a matrix is needed, not a tensor {list(values.shape)}")
        # A copy: the settings are the caller's, and the scale below is this matrix's.
        spec = copy.deepcopy(preset(tile) if isinstance(tile, str) else tile)
        mapping = spec.mapping
        mapping.weight_scaling_omega = mapping.weight_scaling_omega or cell_range(spec)
        rows, columns = values.shape
        self.shape = (rows, columns)
        self.grid = TileGrid(rows, columns, spec, bias=False, seed=seed).eval()
        self.grid.requires_grad_(False)
        self.set(values)

    def set(self, matrix: Any) -> None:
        """Writes a matrix [O, I], scaled to the range of the cells. Raises ValueError for another
        shape, and for numbers that are not finite."""
        values = _tensor(matrix)
        if tuple(values.shape) != self.shape:
            raise ValueError(
                f"the matrix is {_size_text(self.shape)}, not {_size_text(values.shape)}"
            )
        values = fitting(values, self.shape, "the matrix")
        self.grid.set_weights(values.to(self._device))

    def get(self) -> Tensor:
        """The matrix [O, I] that the cells hold."""
        weight, _ = self.grid.get_weights()
        return weight

    @torch.no_grad()
    def matvec(self, x: Any) -> Any:
        """The analog product A x: x [I] gives [O], x [I, K] gives [O, K]."""
        y = self.grid.product(self._rows(x, 1))
        return _as_given(y.to(self._device), x)

    @torch.no_grad()
    def rmatvec(self, d: Any) -> Any:
        """The analog product with the transpose, A^T d: d [O] gives [I], d [O, K] gives [I, K]."""
        tiles = list(analog_tiles(self.grid))
        columns = len(self.grid.in_sizes)
        parts = self._rows(d, 0).split(self.grid.out_sizes, 1)
        outs = [
            _transposed_read(tile, parts[k // columns]) for k, tile in enumerate(tiles)
        ]
        # Tiles of one column of the grid share inputs: every `columns`-th one, added in order.
        sums = []
        for column in range(columns):
            others = outs[column + columns :: columns]
            sums.append(sum(others, outs[column]))
        return _as_given(torch.cat(sums, 1), d)

    @torch.no_grad()
    def update(self, d: Any, x: Any, lr: float = 1.0) -> None:
        """Changes A by about lr d x^T with the pulses of the tile's algorithm; K columns are K
        updates in order. Raises ValueError for different numbers of columns."""
        rows, columns = self._rows(d, 0), self._rows(x, 1)
        if rows.shape[0] != columns.shape[0]:
            raise ValueError(f"d has {rows.shape[0]} vectors, x has {columns.shape[0]}")
        grid = self.grid
        outs = rows.split(grid.out_sizes, 1)
        ins = columns.split(grid.in_sizes, 1)
        for k, tile in enumerate(analog_tiles(grid)):
            row, column = divmod(k, len(grid.in_sizes))
            # A tile descends along d^T x, so d changes its sign; the tile itself divides by the
            # scale between its cells and the elements of the matrix.
            tile.record(ins[column].contiguous(), -outs[row].contiguous())
            tile.learn(lr)

    def forward(self, x: Any) -> Any:
        return self.matvec(x)

    def __matmul__(self, x: Any) -> Any:
        return self.matvec(x)

    @property
    def _device(self) -> torch.device:
        return self.grid.room().device

    def _rows(self, vectors: Any, axis: int) -> Tensor:
        """Vectors of the length of this axis of the matrix, as the rows of a batch."""
        values = _tensor(vectors).to(self._device)
        if values.dim() not in (1, 2) or values.shape[0] != self.shape[axis]:
            raise ValueError(
                f"the matrix is {_size_text(self.shape)} and does not fit a vector {_size_text(values.shape)}"
            )
        columns = values.reshape(values.shape[0], -1)
        return columns.T.contiguous()


def cell_range(spec: TileSpec) -> float:
    """The largest weight that a cell takes in both directions; 1 for cells without bounds."""
    params = spec.device.params
    bounds = [abs(params[name]) for name in ("w_max", "w_min") if name in params]
    return min(bounds, default=FULL_RANGE) or FULL_RANGE


def _transposed_read(tile: AnalogTile, d: Tensor) -> Tensor:
    """The product of d [K, O] with the logical weights of a tile: its scales belong to outputs."""
    for scale in (tile.scale, tile.out_scale):
        if scale is not None:
            d = d * scale
    return tile.read_back(d.contiguous())


def _as_given(rows: Tensor, like: Any) -> Any:
    """A batch of rows in the shape and kind of the vectors that were given.

    Whole numbers give float32: a product of them with an analog matrix is not whole."""
    columns = rows.T if np.ndim(like) == 2 else rows[0]
    if isinstance(like, Tensor):
        return columns.to(like.dtype) if like.is_floating_point() else columns
    given = np.asarray(like).dtype
    dtype = given if given.kind == "f" else np.dtype(np.float32)
    return columns.cpu().numpy().astype(dtype)


def _tensor(values: Any) -> Tensor:
    """Numbers as a float32 tensor. Raises TypeError for complex ones."""
    is_complex = (
        values.is_complex() if isinstance(values, Tensor) else np.iscomplexobj(values)
    )
    if is_complex:
        raise TypeError(
            "tiles hold and read real numbers, not complex ones: take the parts one by one"
        )
    return torch.as_tensor(values, dtype=torch.float32).detach()


def _size_text(shape: Any) -> str:
    return " x ".join(str(n) for n in shape)
