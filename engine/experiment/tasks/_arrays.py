"""Products with a matrix that a configuration puts on tiles, for tasks that compute instead of learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.linalg import AnalogMatrix
from engine.settings import UserError
from engine.tile.keys import derive
from engine.tile.settings import TileSpec

MASK = (1 << 62) - 1


def analog_matrices(
    config: Mapping[str, Any], matrix: Tensor, *, copies: int, device: torch.device
) -> list[AnalogMatrix]:
    """`matrix` on `copies` arrays of the configuration's device, algorithm and tile; each has noise of its own."""
    try:
        spec = TileSpec.from_config(config)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    seed = int(config["run"]["seed"])
    return [AnalogMatrix(matrix, spec, seed=derive(seed, copy) & MASK).to(device) for copy in range(copies)]


def mean_product(matrices: list[AnalogMatrix], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The mean of the products of several arrays, from and to vectors in double precision."""

    def product(x: Tensor) -> Tensor:
        single = x.to(device, torch.float32)
        return (sum(m.matvec(single).double() for m in matrices) / len(matrices)).to(x.device)

    return product
