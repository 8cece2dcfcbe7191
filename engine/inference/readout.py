"""What a tile answers to one input after the other: all that the digital side sees of drift."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.inference.text import noise_program
from engine.jit.programs import fill
from engine.jit.struct import read_struct
from engine.tile.tile import Tile

FLOOR = 1e-4


@torch.no_grad()
def readout(tile: Tile, *, per_column: bool, weight: Tensor | None = None) -> Tensor:
    """Mean absolute output over one-hot inputs: [1], or [O] per column (lanes: [L, 1, 1], [L, 1,
    O]).

    The tile is read through its periphery, without compensation; `weight` [.., O, I] is read
    exactly instead."""
    array = tile.array
    lead = (array.lanes,) if array.lanes > 1 else ()
    if weight is None:
        one_hot = torch.eye(
            array.in_size, dtype=torch.float32, device=array.weight.device
        ).repeat(*lead, 1, 1)
        y = _evaluated(
            tile, one_hot if lead else one_hot.view(array.in_size, array.in_size)
        )
    else:
        y = weight.mT.contiguous() * tile.spec.forward.out_scale
    columns = _mean(
        y,
        (*lead, 1, array.out_size),
        "mean_outputs",
        reads=array.in_size,
        joined=not per_column,
    )
    if per_column:
        return columns if lead else columns.view(-1)
    means = _mean(columns, (*lead, 1, 1), "mean_matrices", reads=1, joined=True)
    return means if lead else means.view(1)


def _evaluated(tile: Tile, x: Tensor) -> Tensor:
    """A read as in evaluation, whatever mode the tile is in."""
    training, factor = tile.training, tile.compensation
    tile.training, tile.compensation = False, None
    try:
        return tile.mvm(x)
    finally:
        tile.training, tile.compensation = training, factor


def _mean(
    y: Tensor, shape: tuple[int, ...], kernel: str, *, reads: int, joined: bool
) -> Tensor:
    args = read_struct("inference/conductance.cuh", "ReadoutArgs")()
    means = torch.empty(shape, dtype=torch.float32, device=y.device)
    args.items, args.reads, args.outputs = means.numel(), reads, y.shape[-1]
    args.joined, args.floor = int(joined), FLOOR
    fill(args, ("y", "mean"), (y, means))
    # Every noise model's program holds these two; that of the model without noise is the shortest.
    noise_program("none", y.device.type).run(kernel, args)
    return means
