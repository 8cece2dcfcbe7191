"""Mixed precision agrees with its slow version over 20 updates with noise on; its counters and
refusals."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.algorithms import mixed_precision
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec, Update
from engine.tile.tile import Tile
from tests.naive.array import NaiveArray
from tests.naive.mixed import NaiveMixed

SHAPE = (6, 37)
DEVICE = DeviceSpec("soft_bounds", {"dw_min": 0.01, "write_noise_std": 0.5})
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "quantised": {"n_x_bins": 8, "n_d_bins": 5},
    "rounded": {
        "n_x_bins": 8,
        "n_d_bins": 6,
        "stoc_round_x": False,
        "stoc_round_d": False,
        "transfer_lr": 0.7,
    },
    "rows": {"n_rows_per_transfer": 4, "transfer_every": 2},
    "random_rows": {"n_rows_per_transfer": 2, "random_row": True, "granularity": 0.02},
    "first": {"transfer_first": True, "transfer_every": 3},
}


def tile_of(
    params: dict[str, Any], device: DeviceSpec = DEVICE, lanes: int = 1
) -> tuple[Tile, Any]:
    spec = TileSpec(
        device=device,
        algorithm=AlgorithmSpec("mixed_precision", params),
        update=Update(desired_bl=7),
    )
    tile = Tile(*SHAPE, spec, seed=3, tile_id=9, lanes=lanes)
    return tile, mixed_precision.init(tile, spec)


def samples(seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(5, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])]


@pytest.mark.parametrize("name", CASES)
def test_twenty_updates(name: str) -> None:
    tile, state = tile_of(CASES[name])
    array = tile.array
    key = tuple(int(v) & 0xFFFFFFFF for v in array.control[0, :2])
    naive = NaiveArray(DEVICE.model, DEVICE.params, SHAPE, key, array.granularity)
    slow = NaiveMixed(naive, state.settings, Update(desired_bl=7))
    for turn in range(20):
        x, d = samples(turn)
        calls = array.calls
        mixed_precision.update(
            tile, state, torch.from_numpy(x), torch.from_numpy(d), 0.01
        )
        assert slow.learn(x, d, 0.01, calls + 1) == array.calls - calls
        np.testing.assert_array_equal(state.chi.numpy(), slow.chi)
        np.testing.assert_array_equal(tile.weight.detach().numpy(), slow.array.weight)
        np.testing.assert_array_equal(
            array.persistent.detach().numpy().ravel(), slow.array.w
        )
    assert np.abs(slow.array.w).max() > 0.05


@pytest.mark.parametrize("first", [False, True])
def test_many_samples_are_summed_in_blocks(first: bool) -> None:
    """The last block of each part is short; sums that are made in parallel change no bit."""
    tile, state = tile_of({"transfer_first": first})
    again, parallel = tile_of({"transfer_first": first})
    steps = parallel._step
    parallel._step = lambda args, **_: steps(args, parallel=True)
    naive = NaiveArray(
        DEVICE.model,
        DEVICE.params,
        SHAPE,
        tuple(int(v) & 0xFFFFFFFF for v in tile.array.control[0, :2]),
        tile.array.granularity,
    )
    slow = NaiveMixed(naive, state.settings, Update(desired_bl=7))
    draw = np.random.default_rng(1)
    for _ in range(2):
        x, d = (
            draw.normal(size=(600, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])
        )
        slow.learn(x, d, 0.001, tile.array.calls + 1)
        for one, its in ((tile, state), (again, parallel)):
            mixed_precision.update(
                one, its, torch.from_numpy(x), torch.from_numpy(d), 0.001
            )
            np.testing.assert_array_equal(its.chi.numpy(), slow.chi)
            np.testing.assert_array_equal(
                one.weight.detach().numpy(), slow.array.weight
            )


@pytest.mark.parametrize(
    "device", [DEVICE, DeviceSpec("one_sided", {"refresh_every": 2}, {"a": DEVICE})]
)
def test_the_state_is_all_there_is(device: DeviceSpec) -> None:
    params = {"n_rows_per_transfer": 4, "transfer_every": 2, "n_x_bins": 8}
    tile, state = tile_of(params, device)
    again, other = tile_of(params, device)
    x, d = (torch.from_numpy(v) for v in samples(0))
    for turn in range(9):
        mixed_precision.update(tile, state, x, d, 0.01)
        mixed_precision.end_of_batch(tile, state)
        if turn == 4:
            again.load_state_dict(tile.state_dict())
            other.load_state_dict(state.state_dict())
        if turn >= 5:
            mixed_precision.update(again, other, x, d, 0.01)
            mixed_precision.end_of_batch(again, other)
    assert torch.equal(tile.weight, again.weight)
    assert torch.equal(state.chi, other.chi)
    copied = copy.deepcopy(state)
    mixed_precision.update(tile, state, x, d, 0.01)
    assert not torch.equal(copied.chi, state.chi)
    mixed_precision.set_weights(tile, state, torch.zeros(SHAPE))
    assert not state.chi.any() and state.updates == 0


def test_lanes_and_threads() -> None:
    wide, wide_state = tile_of({"n_d_bins": 6}, lanes=2)
    tile, state = tile_of({"n_d_bins": 6})
    threads = torch.get_num_threads()
    for turn in range(4):
        x, d = (torch.from_numpy(v) for v in samples(turn))
        torch.set_num_threads(1 + turn % 3)
        mixed_precision.update(tile, state, x, d, 0.01)
        torch.set_num_threads(threads)
        mixed_precision.update(
            wide, wide_state, torch.stack([x, x]), torch.stack([d, -d]), 0.01
        )
    assert torch.equal(wide.weight[0], tile.weight)
    assert torch.equal(wide_state.chi[0], state.chi)
    assert not torch.equal(wide.weight[0], wide.weight[1])


@pytest.mark.parametrize("params", [{"transfer_every": 0}, {"n_rows_per_transfer": 0}, {"n_rows_per_transfer": 7},
                                    {"n_x_bins": 1}, {"transfer_evry": 2}])  # fmt: skip
def test_settings_without_effect_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="algorithm") as found:
        tile_of(params)
    assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match="granularity must be > 0"):
        tile_of({}, DeviceSpec("ideal"))
