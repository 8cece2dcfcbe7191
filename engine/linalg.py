"""A matrix on analog tiles for solvers: products with it and its transpose, and updates by pulses.

Vectors are those of linear algebra: x [I], or several as the columns of [I, K]. Tensors give
tensors, NumPy arrays give NumPy arrays, so `scipy.sparse.linalg.aslinearoperator(matrix)` works
where SciPy is there."""

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

FULL_RANGE = 1.0


class AnalogMatrix(nn.Module):
    """An O x I matrix on tiles of the settings `tile`: a TileSpec, or the name of a preset.

    The largest element takes `tile.mapping.weight_scaling_omega`, or the range of the cells where
    that is 0; cells whose own range is narrower hold less. `seed` fixes devices and noise."""

    def __init__(self, matrix: Any, tile: TileSpec | str, *, seed: int = 0) -> None:
        super().__init__()
        values = _tensor(matrix)
        if values.dim() != 2:
            raise ValueError(f"a matrix is needed, not a tensor {list(values.shape)}")
        spec = copy.deepcopy(preset(tile) if isinstance(tile, str) else tile)
        mapping = spec.mapping
        mapping.weight_scaling_omega = mapping.weight_scaling_omega or cell_range(spec)
        self.shape = (values.shape[0], values.shape[1])
        self.grid = TileGrid(*self.shape, spec, bias=False, seed=seed).eval()
        self.grid.requires_grad_(False)
        self.set(values)

    dtype = np.dtype(np.float32)

    def set(self, matrix: Any) -> None:
        """Writes a matrix [O, I], scaled to the range of the cells. Raises ValueError for another
        shape, and for numbers that are not finite."""
        values = _tensor(matrix)
        if tuple(values.shape) != self.shape:
            raise ValueError(f"the matrix is {_size(self.shape)}, not {_size(values.shape)}")
        values = fitting(values, self.shape, "the matrix")
        self.grid.set_weights(values.to(self._device))

    def get(self) -> Tensor:
        """The matrix [O, I] that the cells hold."""
        return self.grid.get_weights()[0]

    @torch.no_grad()
    def matvec(self, x: Any) -> Any:
        """The analog product A x: x [I] gives [O], x [I, K] gives [O, K]."""
        return self._outward(self.grid.product(self._rows(x, 1)).to(self._device), x)

    @torch.no_grad()
    def rmatvec(self, d: Any) -> Any:
        """The analog product with the transpose, A^T d: d [O] gives [I], d [O, K] gives [I, K]."""
        parts = self._rows(d, 0).split(self.grid.out_sizes, 1)
        n = len(self.grid.in_sizes)
        outs = [_backward(tile, parts[k // n]) for k, tile in enumerate(analog_tiles(self.grid))]
        return self._outward(torch.cat([sum(outs[k + n :: n], outs[k]) for k in range(n)], 1), d)

    @torch.no_grad()
    def update(self, d: Any, x: Any, lr: float = 1.0) -> None:
        """Changes A by about lr d x^T with the pulses of the tile's algorithm; K columns are K
        updates in order."""
        rows, columns = self._rows(d, 0), self._rows(x, 1)
        if rows.shape[0] != columns.shape[0]:
            raise ValueError(f"d has {rows.shape[0]} vectors, x has {columns.shape[0]}")
        outs, n = rows.split(self.grid.out_sizes, 1), len(self.grid.in_sizes)
        ins = columns.split(self.grid.in_sizes, 1)
        for k, tile in enumerate(analog_tiles(self.grid)):
            # A tile descends, and its own scale lies between its weights and the elements of the
            # matrix.
            tile.record(ins[k % n].contiguous(), -outs[k // n].contiguous())
            tile.learn(lr)

    def forward(self, x: Any) -> Any:
        return self.matvec(x)

    def __matmul__(self, x: Any) -> Any:
        return self.matvec(x)

    @property
    def _device(self) -> torch.device:
        return self.grid.room().device

    def _rows(self, vectors: Any, axis: int) -> Tensor:
        """Vectors as the rows of a batch."""
        values = _tensor(vectors).to(self._device)
        if values.dim() not in (1, 2) or values.shape[0] != self.shape[axis]:
            raise ValueError(
                f"the matrix is {_size(self.shape)} and does not fit a vector {_size(values.shape)}"
            )
        return values.reshape(values.shape[0], -1).T.contiguous()

    @staticmethod
    def _outward(rows: Tensor, like: Any) -> Any:
        """A batch of rows in the shape and kind of the vectors that were given."""
        columns = rows.T if np.ndim(like) == 2 else rows[0]
        if isinstance(like, Tensor):
            return columns.to(like.dtype) if like.is_floating_point() else columns
        return (
            columns.cpu()
            .numpy()
            .astype(np.asarray(like).dtype if np.asarray(like).dtype.kind == "f" else "f4")
        )


def cell_range(spec: TileSpec) -> float:
    """The largest weight that a cell takes in both directions; 1 for cells without bounds."""
    bounds = [
        abs(spec.device.params[name]) for name in ("w_max", "w_min") if name in spec.device.params
    ]
    return min(bounds, default=FULL_RANGE) or FULL_RANGE


def _backward(tile: AnalogTile, d: Tensor) -> Tensor:
    for scale in (tile.scale, tile.out_scale):
        d = d if scale is None else d * scale
    return tile.read_back(d.contiguous())


def _tensor(values: Any) -> Tensor:
    if values.is_complex() if isinstance(values, Tensor) else np.iscomplexobj(values):
        raise TypeError(
            "tiles hold and read real numbers, not complex ones: take the parts one by one"
        )
    return torch.as_tensor(values, dtype=torch.float32).detach()


def _size(shape: Any) -> str:
    return " x ".join(str(n) for n in shape)
