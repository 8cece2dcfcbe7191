"""Low-rank Tiki-Taka agrees with its slow version over 20 updates with all noise on; state, copies,
lanes, threads."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.algorithms import lrtt
from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, TileSpec
from engine.tile.tile import Tile
from tests.naive.array import NaiveArray
from tests.naive.lowrank import NaiveLowRank

SHAPE, RANK = (6, 37), 3
DEVICES = {
    "in_factor": DeviceSpec(
        "linear_step",
        {"dw_min": 0.01, "gamma_up": 0.17, "mult_noise": False, "w_max": 1.0},
    ),
    "out_factor": DeviceSpec("soft_bounds", {"dw_min": 0.02, "write_noise_std": 0.3}),
}
CORE = DeviceSpec("constant_step", {"dw_min": 0.005})
CASES: dict[str, dict[str, Any]] = {
    "keep": {"lr_in": 0.5},
    "reset_out": {
        "after_transfer": "reset_out",
        "update_aux": {"desired_bl": 5},
        "init_in": "normal",
    },
    "chunks": {
        "rank_chunk": 2,
        "update_core": {"update_bl_management": False, "desired_bl": 9},
    },
    "own_io": {"io_aux": {"out_noise": 0.2, "inp_sto_round": True}},
}


def run(params: dict[str, Any], lanes: int = 1, exact: bool = True) -> tuple[Tile, Any]:
    """A tile and its factors, transfers every three calls."""
    algorithm = AlgorithmSpec(
        "lrtt",
        {"rank": RANK, "transfer_every": 3, "transfer_lr": 0.3} | params,
        dict(DEVICES),
    )
    tile = Tile(
        *SHAPE,
        TileSpec(device=CORE, algorithm=algorithm),
        seed=3,
        tile_id=9,
        lanes=lanes,
    )
    state = lrtt.init(tile, tile.spec)
    for one in (tile, state.in_factor, state.out_factor):
        one.set_exact(exact)
    return tile, state


def samples(seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(5, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])]


def slow_array(fast: Any) -> NaiveArray:
    """The slow version of an array that nothing has pulsed yet."""
    key = tuple(int(v) & 0xFFFFFFFF for v in fast.control[0, :2])
    slow = NaiveArray(
        fast.spec.model,
        fast.spec.params,
        (fast.out_size, fast.in_size),
        key,
        fast.granularity,
    )
    slow.w, slow.seen = (
        fast.persistent.detach().numpy().ravel().copy(),
        fast.weight.detach().numpy().ravel().copy(),
    )
    return slow


@pytest.mark.parametrize("name", CASES)
def test_twenty_updates(name: str) -> None:
    tile, state = run(CASES[name])
    arrays = [state.in_factor.array, state.out_factor.array, tile.array]
    io = IO(**CASES[name].get("io_aux", {}))
    slow = NaiveLowRank(*(slow_array(v) for v in arrays), state.settings, io)
    start = tile.weight.detach().clone()
    for turn in range(20):
        x, d = samples(turn)
        calls = tuple(v.calls for v in arrays)
        lrtt.update(tile, state, torch.from_numpy(x), torch.from_numpy(d), 0.02)
        slow.learn(x, d, 0.02, calls)
        for fast, naive in zip(arrays, (slow.a, slow.b, slow.core), strict=True):
            np.testing.assert_array_equal(fast.weight.detach().numpy(), naive.weight)
            np.testing.assert_array_equal(
                fast.persistent.detach().numpy().ravel(), naive.w
            )
    assert float((tile.weight.detach() - start).abs().max()) > 0.02


@pytest.mark.parametrize("after", ["keep", "redraw"])
def test_the_state_is_all_there_is(after: str) -> None:
    (tile, state), (again, other) = (
        run({"after_transfer": after}),
        run({"after_transfer": after}),
    )
    x, d = (torch.from_numpy(v) for v in samples(0))
    for turn in range(9):
        lrtt.update(tile, state, x, d, 0.02)
        lrtt.end_of_batch(tile, state)
        if turn == 4:
            again.load_state_dict(tile.state_dict())
            other.load_state_dict(state.state_dict())
        if turn >= 5:
            lrtt.update(again, other, x, d, 0.02)
            lrtt.end_of_batch(again, other)
    assert torch.equal(tile.weight, again.weight)
    assert torch.equal(state.in_factor.weight, other.in_factor.weight)
    assert state.transfers == other.transfers == 3
    copied = copy.deepcopy(state)
    lrtt.update(tile, state, x, d, 0.02)
    assert not torch.equal(copied.out_factor.weight, state.out_factor.weight)


def test_lanes_and_threads() -> None:
    wide, wide_state = run({"init_in": "orthogonal"}, lanes=2)
    tile, state = run({"init_in": "orthogonal"})
    threads = torch.get_num_threads()
    for turn in range(7):
        x, d = (torch.from_numpy(v) for v in samples(turn))
        torch.set_num_threads(1 + turn % 3)
        lrtt.update(tile, state, x, d, 0.02)
        torch.set_num_threads(threads)
        lrtt.update(wide, wide_state, torch.stack([x, x]), torch.stack([d, -d]), 0.02)
    assert torch.equal(wide.weight[0], tile.weight)
    assert torch.equal(wide_state.in_factor.weight[0], state.in_factor.weight)
    assert not torch.equal(wide.weight[0], wide.weight[1])
