"""Write and verify with the pulses of the training device: the array learns its weights, one-hot
inputs at a time."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from engine.devices.base import find_device
from engine.settings import UserError
from engine.tile.settings import GROUPS
from engine.tile.tile import Tile

LR = 0.1


@torch.no_grad()
def write(
    where: nn.Module | Iterable[Tile], *, tolerance: float = 0.01, rounds: int = 10000
) -> list[float]:
    """Writes the weights that the tiles have onto their cells again, from 0, by pulses; what they
    reach stays on them.

    A round reads a tile through its periphery and pulses away the difference, until the mean
    absolute one is below `tolerance` times the largest weight. Returns for each tile what is left,
    in that unit. Raises UserError for tiles whose cells are not pulsed."""
    found = where.modules() if isinstance(where, nn.Module) else where
    tiles = [tile for tile in found if isinstance(tile, Tile)]
    for tile in tiles:
        tile.refuse_programmed("pulses belong on the cells, not on what was programmed")
        model = tile.spec.device.model
        if model not in GROUPS and find_device(model).ideal:
            raise UserError(
                f"device {model} takes no pulses: its weights are exact as they are"
            )
    return [_write(tile, tolerance, rounds) for tile in tiles]


def _write(tile: Tile, tolerance: float, rounds: int) -> float:
    array, target = tile.array, tile.weight.detach().clone()
    top = float(target.abs().max()) or 1.0
    one_hot = torch.eye(array.in_size, dtype=torch.float32, device=target.device)
    if array.lanes > 1:
        one_hot = one_hot.repeat(array.lanes, 1, 1)
    array.set_weights(torch.zeros_like(target))
    missing = _missing(tile, one_hot, target)
    for _ in range(rounds):
        if float(missing.abs().mean()) < tolerance * top:
            break
        array.update(one_hot, missing, LR, tile.spec.update)
        missing = _missing(tile, one_hot, target)
    return float(missing.abs().mean()) / top


def _missing(tile: Tile, one_hot: Tensor, target: Tensor) -> Tensor:
    """What is read minus what it should be [.., I, O]: the gradient of the error."""
    return (tile.mvm(one_hot) - target.mT).contiguous()
