"""Weights written by pulses of the training device."""

from __future__ import annotations

import pytest
import torch

from engine.inference.pulses import write
from engine.settings import UserError
from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.tile import Tile

DEVICE = DeviceSpec(
    "soft_bounds", {"dw_min": 0.002, "w_max_dtod": 0.1, "w_min_dtod": 0.1}
)


def tile_of(**io: object) -> tuple[Tile, torch.Tensor]:
    tile = Tile(6, 10, TileSpec(device=DEVICE, forward=IO(**io)), seed=1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    tile.array.set_weights(torch.rand(6, 10, generator=generator) * 0.8 - 0.4)
    return tile, tile.weight.detach().clone()


def test_pulses_come_near_the_target() -> None:
    tile, target = tile_of(is_perfect=True)
    left = write([tile])
    found = tile.weight.detach()
    assert left[0] < 0.01
    assert float((found - target).abs().mean() / target.abs().max()) == pytest.approx(
        left[0], rel=1e-4
    )
    assert not torch.equal(found, target)


def test_reads_through_a_periphery_limit_what_is_reached() -> None:
    tile, target = tile_of(out_noise=0.1)
    left = write([tile], rounds=30)
    error = float((tile.weight.detach() - target).abs().mean() / target.abs().max())
    assert left[0] > 0.05  # the noise of the last read
    assert 0.01 < error < 0.3


def test_what_takes_no_pulses_is_refused() -> None:
    with pytest.raises(UserError, match="takes no pulses"):
        write([Tile(2, 2, TileSpec(device=DeviceSpec("ideal")))])
