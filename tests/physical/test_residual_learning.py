"""What the papers of residual learning claim, on least squares with noisy gradients and a known
target."""

from __future__ import annotations

from typing import Any

import torch

from engine.algorithms import find_algorithm
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec
from engine.tile.tile import Tile

SIZE = 6
PERFECT = {"transfer_forward": {"is_perfect": True}}


def error(
    device: DeviceSpec, name: str, steps: int, **params: Any
) -> tuple[float, Tile, Any]:
    """Root mean square of W - W* over the last tenth of the steps; gradients are W - W* plus
    noise."""
    tile = Tile(
        SIZE,
        SIZE,
        TileSpec(device, algorithm=AlgorithmSpec(name, params)),
        seed=3,
        tile_id=4,
    )
    module = find_algorithm(name)
    state = module.init(tile, tile.spec)
    draw = torch.Generator().manual_seed(0)
    target = 0.8 * (2 * torch.rand(SIZE, SIZE, generator=draw) - 1)
    if hasattr(module, "set_weights"):
        module.set_weights(tile, state, torch.zeros(SIZE, SIZE))
    eye, left = torch.eye(SIZE), []
    for number in range(steps):
        gap = tile.weight.detach() - target
        module.update(
            tile,
            state,
            eye,
            (gap + 0.3 * torch.randn(SIZE, SIZE, generator=draw)).T.contiguous(),
            0.05,
        )
        module.end_of_batch(tile, state)
        if number >= steps - steps // 10:
            left.append(float(gap.square().mean()))
    return (sum(left) / len(left)) ** 0.5, tile, state


def cells(**values: Any) -> DeviceSpec:
    quiet = {
        "dw_min_dtod": 0.0,
        "up_down_dtod": 0.0,
        "w_max": 1.0,
        "w_min": -1.0,
        "w_max_dtod": 0.0,
        "w_min_dtod": 0.0,
    }
    return DeviceSpec("soft_bounds", quiet | values)


def test_noise_pulls_sgd_to_the_symmetry_point_but_not_residual_learning() -> None:
    fine = cells(dw_min=0.002)
    plain, _, _ = error(fine, "sgd", 1500)
    for name in ("residual", "residual_v2"):
        mixed, _, state = error(fine, name, 1500, transfer_lr=0.02, **PERFECT)
        assert mixed < 0.6 * plain, (name, mixed, plain)
        assert (
            state.fast.weight.detach().abs().mean() < 0.5 * state.last.abs().mean()
        ), "P has not come to rest"


def test_more_tiles_of_few_states_leave_less() -> None:
    coarse = cells(dw_min=0.2)
    plain, _, _ = error(coarse, "sgd", 4000)
    settings = {"gamma": 0.3, "transfer_every": 1.0, "every_factor": 5.0}
    few, many = (
        error(coarse, "multi_tile_residual", 6000, arrays=n, **settings, **PERFECT)[0]
        for n in (2, 5)
    )
    assert few < 1.2 * plain
    assert many < 0.7 * few
