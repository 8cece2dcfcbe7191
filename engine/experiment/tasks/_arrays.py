"""Products with a matrix that a configuration puts on tiles, for tasks that compute instead of
learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.inference import InferenceSpec, program
from engine.linalg import AnalogMatrix
from engine.settings import UserError
from engine.tile.settings import TileSpec


def mean_product(
    matrices: list[AnalogMatrix], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """The mean of the products of several arrays, from and to vectors in double precision."""

    def product(x: Tensor) -> Tensor:
        single = x.to(device, torch.float32)
        return (sum(m.matvec(single).double() for m in matrices) / len(matrices)).to(
            x.device
        )

    return product


def programmed_matrix(
    config: Mapping[str, Any],
    matrix: Tensor,
    *,
    seed: int,
    time: float,
    device: torch.device,
) -> AnalogMatrix:
    """`matrix` on tiles of the configuration, programmed on the devices of its inference and read
    after `time`."""
    try:
        spec = TileSpec.from_config(config)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    found = AnalogMatrix(matrix, spec, seed=seed).to(device)
    program(found, InferenceSpec.from_config(config["inference"]), seed=seed).drift_to(
        time
    )
    return found
