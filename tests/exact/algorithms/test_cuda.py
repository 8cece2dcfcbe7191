"""Cells of several devices, mixed precision and low-rank Tiki-Taka leave the same bits on a GPU as
on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.algorithms import find_algorithm
from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, TileSpec
from engine.tile.tile import Tile

pytestmark = pytest.mark.gpu

OUT, IN, BATCH = 12, 70, 5
SOFT = DeviceSpec(
    "soft_bounds",
    {"dw_min": 0.01, "write_noise_std": 0.5, "lifetime": 50.0, "diffusion": 0.001},
)
STEP = DeviceSpec("constant_step", {"dw_min": 0.005, "reset_dtod": 0.02})
REFRESH = {"refresh_every": 2, "refresh_upper_thres": 0.2, "refresh_lower_thres": 0.05,
           "refresh_forward": {"is_perfect": True}}  # fmt: skip
DEVICES = {
    "single": SOFT,
    "all": DeviceSpec("vector", {"gamma_vec": [1.0, 0.5]}, {"a": SOFT, "b": STEP}),
    "sequential": DeviceSpec(
        "vector", {"policy": "sequential", "copies": 3}, {"a": STEP}
    ),
    "random": DeviceSpec("vector", {"policy": "random"}, {"a": SOFT, "b": STEP}),
    "reference_pair": DeviceSpec("reference_pair", {}, {"a": SOFT}),
    "one_sided": DeviceSpec("one_sided", REFRESH, {"a": STEP}),
}
LOW_RANK: dict[str, Any] = {
    "rank": 4,
    "transfer_every": 2,
    "transfer_lr": 0.2,
    "forward_gain": 0.1,
}
ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", {}),
    "mixed": (
        "mixed_precision",
        {"n_x_bins": 8, "n_d_bins": 6, "n_rows_per_transfer": 5, "random_row": True},
    ),
    "summed": ("mixed_precision", {"transfer_first": True}),
    "lrtt": ("lrtt", LOW_RANK | {"after_transfer": "redraw", "rank_chunk": 3}),
    "reset": (
        "lrtt",
        LOW_RANK
        | {
            "after_transfer": "reset_out",
            "init_in": "normal",
            "io_aux": {"out_noise": 0.2},
        },
    ),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_same_bits(name: str, device: str) -> None:
    left = {}
    algorithm, params = ALGORITHMS[name]
    module = find_algorithm(algorithm)
    for where in ("cpu", "cuda"):
        spec = TileSpec(
            device=DEVICES[device],
            algorithm=AlgorithmSpec(algorithm, params),
            backward=IO(out_noise=0.1),
        )
        with torch.device(where):
            tile = Tile(OUT, IN, spec, seed=5, tile_id=6, lanes=2)
            state = module.init(tile, spec)
        for one in (
            m for owner in (tile, state) for m in owner.modules() if isinstance(m, Tile)
        ):
            one.set_exact(True)
        draw = torch.Generator().manual_seed(1)
        for _ in range(6):
            batch = 600 if name == "summed" else BATCH
            x, d = (
                torch.randn(2, batch, size, generator=draw).to(where)
                for size in (IN, OUT)
            )
            if hasattr(module, "forward"):
                d = d + 0.01 * module.forward(tile, state, x)
            module.update(tile, state, x, d, 0.02)
            module.end_of_batch(tile, state)
        kept = tile.state_dict() | {
            f"state.{k}": v for k, v in state.state_dict().items()
        }
        left[where] = {k: v.cpu() for k, v in kept.items() if v.is_floating_point()}
    for key, ours in left["cpu"].items():
        assert torch.equal(
            ours.view(torch.int32), left["cuda"][key].view(torch.int32)
        ), key
