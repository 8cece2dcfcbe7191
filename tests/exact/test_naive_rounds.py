"""Transfers of cells of several devices against their slow version: arrays, buffers, choppers,
counters, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.algorithms import find_algorithm
from engine.tile.cells import CellArray
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec, Update
from engine.tile.tile import Tile
from engine.tile.transfers.args import Prepared
from tests.exact.test_naive_transfer import CASES as WALKS
from tests.exact.test_naive_transfer import SHAPE, assert_coupled_alike, vectors
from tests.naive.array import NaiveArray
from tests.naive.group import NaiveGroup
from tests.naive.rounds import NaiveCells, NaiveRounds

SOFT = DeviceSpec(
    "soft_bounds", {"dw_min": 0.01, "write_noise_std": 1.0, "reset_dtod": 0.02}
)
STEP = DeviceSpec("constant_step", {"dw_min": 0.004, "dw_min_std": 0.5})
CELLS = {
    "single": SOFT,
    "all": DeviceSpec("vector", {"gamma_vec": [0.7, 0.4]}, {"a": SOFT, "b": STEP}),
    "fixed": DeviceSpec(
        "vector",
        {"policy": "fixed", "first": 1, "gamma_vec": [0.5, 1.0]},
        {"a": STEP, "b": SOFT},
    ),
    "sequential": DeviceSpec(
        "vector", {"policy": "sequential", "copies": 3}, {"a": STEP}
    ),
    "random": DeviceSpec("vector", {"policy": "random"}, {"a": SOFT, "b": STEP}),
    "pair": DeviceSpec("reference_pair", {}, {"a": SOFT}),
    "one_sided": DeviceSpec("one_sided", {}, {"a": STEP, "b": SOFT}),
}
# A case of test_naive_transfer with a kind of cells for the fast array and one for the others.
CASES = [
    ("tiki_taka", "random", "all"),
    ("tiki_taka_rows", "one_sided", "pair"),
    ("tiki_taka_reset", "sequential", "single"),
    ("tiki_taka_random", "fixed", "random"),
    ("tiki_taka_chain", "single", "all"),
    ("tiki_taka_counted", "pair", "one_sided"),
    ("ttv2", "pair", "one_sided"),
    ("ttv2_kept", "single", "random"),
    ("ttv2_chain", "all", "fixed"),
    ("chopped_regular", "one_sided", "random"),
    ("chopped_auto", "sequential", "one_sided"),
    ("agad", "all", "pair"),
    ("agad_rows", "one_sided", "all"),
    ("residual_v2", "random", "single"),
    ("multi_tile", "pair", "pair"),
]


def make(
    name: str, fast: str, slow: str, lanes: int = 1, seed: int = 11
) -> tuple[Any, Tile, Any]:
    algorithm, values = WALKS[name]
    noisy = {"out_noise": 0.01, "out_res": 0.01, "out_bound": 1.0, "out_asymmetry": 0.1}
    spec = AlgorithmSpec(
        algorithm, {"transfer_forward": noisy} | values, {"fast": CELLS[fast]}
    )
    given = TileSpec(device=CELLS[slow], algorithm=spec, update=Update(desired_bl=10))
    tile = Tile(*SHAPE, given, seed=seed, tile_id=5, lanes=lanes)
    module = find_algorithm(algorithm)
    state = module.init(tile, tile.spec)
    weight = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    module.set_weights(tile, state, weight.repeat(lanes, 1, 1) if lanes > 1 else weight)
    return module, tile, state


def cells_of(array: Any) -> NaiveCells:
    """The slow version of an array, with the same cells, weights and keys."""
    single, devices = isinstance(array, CellArray), []
    for one in [array] if single else array.arrays:
        key = (int(one.control[0, 0]) & 0xFFFFFFFF, int(one.control[0, 1]) & 0xFFFFFFFF)
        slow = NaiveArray(one.spec.model, one.spec.params, SHAPE, key, one.granularity)
        slow.w, slow.seen = (
            one.persistent.detach().numpy().ravel().copy(),
            one.weight.detach().numpy().ravel().copy(),
        )
        devices.append(slow)
    if single:
        return NaiveCells(NaiveGroup(devices, [1.0], "all"), [array.calls], single=True)
    policy = "one_sided" if array.spec.model == "one_sided" else array.policy
    return NaiveCells(
        NaiveGroup(devices, array.factors, policy, array.first),
        [a.calls for a in array.arrays],
        single=False,
    )


def twin(tile: Tile, state: Any, batch: int) -> NaiveRounds:
    if (
        state.last is not None
    ):  # what the tile shows is a sum, and its array's own weights lie beside it
        tile.array.weight.data.copy_(state.last)
    arrays = [cells_of(array) for array in (*state.arrays, tile.array)]
    grains = [a.granularity for a in arrays]
    grain = sum(grains) / len(grains) if state.wiring.mean_granularity else grains[0]
    values = Prepared(state, tile.array, batch).values
    naive = NaiveRounds(values, arrays, tile.spec.update, state.wiring.write, grain)
    naive.decay = (1.0 - state.wiring.auto_momentum) / batch
    return naive


def assert_same(tile: Tile, state: Any, naive: NaiveRounds) -> None:
    last = tile.array.weight.detach() if state.last is None else state.last
    for weight, cells in zip(
        (*(a.weight.detach() for a in state.arrays), last), naive.arrays, strict=True
    ):
        np.testing.assert_array_equal(weight.numpy(), cells.group.weight)
    for array, cells in zip((*state.arrays, tile.array), naive.arrays, strict=True):
        ones = [array] if cells.single else array.arrays
        assert [one.calls for one in ones] == cells.calls
        for one, slow in zip(ones, cells.group.devices, strict=True):
            np.testing.assert_array_equal(
                one.persistent.detach().numpy().ravel(), slow.w
            )
    assert_coupled_alike(
        tile, state, naive, [cells.group.weight for cells in naive.arrays]
    )


@pytest.mark.parametrize(("name", "fast", "slow"), CASES)
def test_a_series_of_updates(name: str, fast: str, slow: str) -> None:
    module, tile, state = make(name, fast, slow)
    naive = twin(tile, state, 9)
    start = naive.arrays[-1].group.weight
    for n in range(20 if "rows" in name else 12):
        x, d = vectors(n, 9)
        module.update(tile, state, x, d, 0.03)
        naive.learn_all(x.numpy(), d.numpy(), 0.03)
        assert_same(tile, state, naive)
    assert np.mean(naive.arrays[-1].group.weight != start) > 0.2, (
        "hardly anything was written"
    )
