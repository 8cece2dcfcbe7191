"""Weights as they are read: through the periphery of a tile, with its noise and converters.

What a user compares with `get_weights()` to see how much the periphery and drift change."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.nn.analog import AnalogTile


@torch.no_grad()
def read_weights(tile: AnalogTile, *, reads: int = 1) -> Tensor:
    """The logical weights [O, I] that a tile computes with in evaluation: one input at a time is
    driven, `reads` times each, and the outputs are averaged.

    Noise, converters, drift and its compensation are in them; `tile.get_weights()` is exact. Raises
    ValueError for less than one read."""
    if reads < 1:
        raise ValueError(f"reads must be at least 1, not {reads}")
    weight = tile.tile.weight
    # The product with the k-th unit vector is the k-th column of the weights.
    one_hot = torch.eye(weight.shape[-1], dtype=torch.float32, device=weight.device)
    # In evaluation mode: reads of training may draw modified weights.
    training = tile.training
    tile.eval()
    try:
        found = torch.zeros_like(weight)
        for _ in range(reads):
            found += tile.read(one_hot).T
    finally:
        tile.train(training)
    for scale in (tile.scale, tile.out_scale):
        if scale is not None:
            found *= scale.view(-1, 1)
    return found / reads
