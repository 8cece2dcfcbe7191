"""The transfer family against its slow version: all arrays, buffers, choppers and counters, bit by
bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from engine.algorithms import find_algorithm
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec, Update
from engine.tile.tile import Tile
from engine.tile.transfers.args import Prepared
from tests.naive.array import NaiveArray
from tests.naive.transfer import NaiveTransfer

SHAPE = (35, 6)  # rows fill more than one block of 32 lines
FAST = DeviceSpec(
    "soft_bounds_reference",
    {"dw_min": 0.02, "dw_min_std": 0.5, "reference_std": 0.05, "write_noise_std": 1.5},
)
SLOW = DeviceSpec(
    "linear_step", {"dw_min": 0.004, "dw_min_std": 1.0, "write_noise_std": 2.0}
)
MANAGED = {"desired_bl": 7, "update_bl_management": True, "update_management": True}
ONE_PULSE = {"desired_bl": 1, "update_bl_management": False, "update_management": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiki_taka": ("tiki_taka", {}),
    "tiki_taka_rows": (
        "tiki_taka",
        {"transfer_columns": False, "units_in_mbatch": False, "transfer_every": 2.0},
    ),
    "tiki_taka_reset": (
        "tiki_taka",
        {"with_reset_prob": 0.5, "units_in_mbatch": False, "n_reads_per_transfer": 2},
    ),
    "tiki_taka_random": (
        "tiki_taka",
        {"random_selection": True, "units_in_mbatch": False, "gamma": 0.3},
    ),
    "tiki_taka_chain": (
        "tiki_taka",
        {
            "arrays": 3,
            "units_in_mbatch": False,
            "gamma_vec": [0.2, 0.3, 1.0],
            "transfer_every_vec": [1.0, 3.0, 0.0],
        },
    ),
    "tiki_taka_absolute": (
        "tiki_taka",
        {
            "scale_fast_lr": False,
            "fast_lr": 0.05,
            "scale_transfer_lr": False,
            "transfer_lr": 0.3,
            "fast_granularity": "own",
        },
    ),
    "tiki_taka_counted": (
        "tiki_taka",
        {
            "transfer_update": {"pulse_type": "MeanCount", "desired_bl": 40},
            "units_in_mbatch": False,
        },
    ),
    "ttv2": ("ttv2", {"transfer_lr": 2.0, "units_in_mbatch": False}),
    "ttv2_kept": (
        "ttv2",
        {
            "transfer_lr": 5.0,
            "forget_buffer": False,
            "step": 0.4,
            "transfer_update": {"desired_bl": 3},
        },
    ),
    "ttv2_chain": (
        "ttv2",
        {
            "arrays": 3,
            "transfer_lr_vec": [4.0, 2.0],
            "units_in_mbatch": False,
            "transfer_every_vec": [1, 2, 0],
        },
    ),
    "chopped_ttv2": (
        "chopped_ttv2",
        {"transfer_lr": 3.0, "in_chop_prob": 0.3, "momentum": 0.1},
    ),
    "chopped_random": (
        "chopped_ttv2",
        {"random_selection": True, "transfer_lr": 3.0, "in_chop_prob": 0.3},
    ),
    "chopped_regular": (
        "chopped_ttv2",
        {
            "in_chop_prob": 0.4,
            "in_chop_random": False,
            "out_chop_prob": 0.3,
            "gamma": 0.2,
            "transfer_lr": 9.0,
        },
    ),
    "chopped_rows": (
        "chopped_ttv2",
        {
            "transfer_columns": False,
            "out_chop_prob": 0.5,
            "no_buffer": True,
            "transfer_lr": 9.0,
        },
    ),
    "chopped_auto": (
        "chopped_ttv2",
        {
            "auto_scale": True,
            "fast_lr": 0.2,
            "auto_granularity": 3.0,
            "correct_gradient_magnitudes": True,
            "transfer_lr": 0.5,
        },
    ),
    "chopped_states": (
        "chopped_ttv2",
        {"transfer_every": -0.1, "scale_fast_lr": True, "transfer_update": MANAGED},
    ),
    "residual": ("residual", {"units_in_mbatch": False, "transfer_lr": 0.2}),
    "residual_rows": (
        "residual",
        {
            "transfer_columns": False,
            "n_reads_per_transfer": 3,
            "scale_transfer_lr": True,
            "transfer_lr": 5.0,
        },
    ),
    "residual_v2": (
        "residual_v2",
        {"units_in_mbatch": False, "transfer_lr": 0.5, "momentum": 0.6},
    ),
    "residual_v2_one_pulse": (
        "residual_v2",
        {
            "scale_transfer_lr": True,
            "transfer_lr": 20.0,
            "thres_scale": 2.0,
            "transfer_update": ONE_PULSE,
        },
    ),
    "multi_tile": (
        "multi_tile_residual",
        {
            "units_in_mbatch": False,
            "arrays": 4,
            "transfer_every": 1.0,
            "every_factor": 2.0,
            "gamma": 0.3,
        },
    ),
    "agad": ("agad", {"in_chop_prob": 0.5, "transfer_lr": 3.0}),
    "agad_rows": (
        "agad",
        {
            "in_chop_prob": 0.5,
            "in_chop_random": True,
            "transfer_columns": False,
            "correct_accumulation": True,
            "transfer_lr": 9.0,
        },
    ),
    "agad_capped": (
        "agad",
        {
            "in_chop_prob": 0.5,
            "forget_buffer": False,
            "momentum": 0.3,
            "buffer_cap": 1.0,
            "transfer_lr": 9.0,
        },
    ),
}


def make(
    name: str, fast: DeviceSpec = FAST, slow: DeviceSpec = SLOW
) -> tuple[Any, Tile, Any]:
    algorithm, values = CASES[name]
    noisy = {
        "out_noise": 0.01,
        "out_res": 0.01,
        "out_bound": 1.0,
        "out_sto_round": "rows" in name,
        "out_asymmetry": 0.1,
    }
    spec = AlgorithmSpec(
        algorithm, {"transfer_forward": noisy} | values, {"fast": fast}
    )
    tile = Tile(
        *SHAPE,
        TileSpec(device=slow, algorithm=spec, update=Update(desired_bl=10)),
        seed=11,
        tile_id=5,
    )
    module = find_algorithm(algorithm)
    state = module.init(tile, tile.spec)
    module.set_weights(
        tile,
        state,
        0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(4)),
    )
    return module, tile, state


def twin(tile: Tile, state: Any, batch: int) -> NaiveTransfer:
    """The slow version with the same cells and weights."""
    prepared = Prepared(state, tile.array, batch)
    arrays = []
    for array in (*state.arrays, tile.array):
        key = (
            int(array.control[0, 0]) & 0xFFFFFFFF,
            int(array.control[0, 1]) & 0xFFFFFFFF,
        )
        slow = NaiveArray(
            array.spec.model, array.spec.params, SHAPE, key, array.granularity
        )
        slow.w = array.persistent.detach().numpy().ravel().copy()
        slow.seen = array.weight.detach().numpy().ravel().copy()
        arrays.append(slow)
    if state.last is not None:
        arrays[-1].seen = state.last.numpy().ravel().copy()
    grains = [a.granularity for a in arrays]
    grain = sum(grains) / len(grains) if state.wiring.mean_granularity else grains[0]
    values = prepared.values | {"write_groups": prepared.struct.write_groups}
    naive = NaiveTransfer(values, arrays, state.update, state.wiring.write, grain)
    naive.decay = (1.0 - state.wiring.auto_momentum) / batch
    return naive


def vectors(n: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n)
    x = torch.randn(batch, SHAPE[1], generator=g) * (
        torch.rand(batch, SHAPE[1], generator=g) > 0.3
    )
    return x, torch.randn(batch, SHAPE[0], generator=g)


def assert_same(tile: Tile, state: Any, naive: NaiveTransfer) -> None:
    last = tile.array.weight.detach() if state.last is None else state.last
    for fast, slow in zip(
        (*(a.weight.detach() for a in state.arrays), last), naive.arrays, strict=True
    ):
        np.testing.assert_array_equal(fast.numpy(), slow.weight)
    for fast, slow in zip((*state.arrays, tile.array), naive.arrays, strict=True):
        if "persistent" in fast.layout.states:
            np.testing.assert_array_equal(
                fast.persistent.detach().numpy().ravel(), slow.w
            )
    assert_coupled_alike(tile, state, naive, [slow.weight for slow in naive.arrays])


def assert_coupled_alike(
    tile: Tile, state: Any, naive: Any, weights: list[np.ndarray]
) -> None:
    """Buffers, choppers and counters, and the visible weight as the sum of the slow version's
    `weights`."""

    def turned(slices: np.ndarray) -> np.ndarray:
        return slices.T if naive.v["by_columns"] else slices

    for k, buffer in enumerate(state.buffer.numpy()):
        np.testing.assert_array_equal(buffer, turned(naive.buffer[k]))
    if state.mean is not None:
        np.testing.assert_array_equal(state.mean.numpy(), turned(naive.mean))
        np.testing.assert_array_equal(state.past.numpy(), turned(naive.past))
    np.testing.assert_array_equal(
        state.in_chop.numpy(), naive.in_chop + 2 * naive.switched
    )
    np.testing.assert_array_equal(state.out_chop.numpy(), naive.out_chop)
    assert state.counters[0, : 2 + len(naive.pointers)].tolist() == [
        naive.samples,
        naive.sweep,
        *naive.pointers,
    ]
    np.testing.assert_array_equal(state.maxima[0].numpy(), naive.maxima)
    if state.last is not None:
        gamma = np.array(state.wiring.gamma, np.float32)
        chopped = turned(naive.in_chop[:, None] ^ naive.out_chop[None, :]) & bool(
            naive.v.get("sum_signs")
        )
        shown = np.where(chopped, -gamma[0], gamma[0]) * weights[0]
        for factor, weight in zip(gamma[1:], weights[1:], strict=True):
            shown = shown + factor * weight
        np.testing.assert_array_equal(tile.weight.detach().numpy(), shown)


def slow_ones(names: Iterable[str], *slow: str) -> list[Any]:
    """The names, of which some are tested by `make slow` alone: minutes of NumPy."""
    marks = dict.fromkeys(slow, (pytest.mark.slow,))
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


@pytest.mark.parametrize("name", slow_ones(CASES, "agad_rows", "chopped_rows"))
def test_a_series_of_updates(name: str) -> None:
    module, tile, state = make(name)
    batch = (
        8 if name == "agad_rows" else 4
    )  # enough sweeps over 35 rows for the first write
    naive = twin(tile, state, batch)
    start = (
        tile.array.weight.detach().clone() if state.last is None else state.last.clone()
    )
    late = "rows" in name or "chain" in name  # their first writes come late
    for n in range(20 if late else 12):
        x, d = vectors(n, batch)
        module.update(tile, state, x, d, 0.03)
        naive.learn(
            x.numpy(),
            d.numpy(),
            0.03,
            call=state.fast.calls,
            slow_call=tile.array.calls,
        )
        assert_same(tile, state, naive)
    end = tile.array.weight.detach() if state.last is None else state.last
    assert (end != start).float().mean() > 0.2, "hardly anything was written"


SPARSE = ("tiki_taka", "chopped_auto", "tiki_taka_random", "ttv2_chain")


@pytest.mark.parametrize("name", slow_ones(SPARSE, *SPARSE[2:]))
def test_samples_without_slots_bring_no_pulses(name: str) -> None:
    """As in convolutions, where most patches have no gradient: their trains are not even made."""
    module, tile, state = make(name)
    naive = twin(tile, state, 300)
    for n, kept in ((0, 1), (1, 7)):
        x, d = vectors(n, 300)
        d[torch.arange(300) % kept != 0] = 0.0
        module.update(tile, state, x, d, 0.03)
        naive.learn(
            x.numpy(),
            d.numpy(),
            0.03,
            call=state.fast.calls,
            slow_call=tile.array.calls,
        )
        assert_same(tile, state, naive)


def test_counts_beyond_a_word_stay_in_their_sample() -> None:
    """A line that is silent in a sample takes none of the pulses of the next one, however long
    trains are."""
    module, tile, state = make(
        "tiki_taka",
        DeviceSpec(FAST.model, FAST.params | {"mult_noise": False, "dw_min": 0.002}),
    )
    state.update = Update(
        pulse_type="MeanCount",
        desired_bl=70,
        update_bl_management=False,
        update_management=False,
    )
    naive = twin(tile, state, 4)
    for n in range(4):
        x, d = vectors(n, 4)
        module.update(tile, state, x, d, 0.03)
        naive.learn(
            x.numpy(),
            d.numpy(),
            0.03,
            call=state.fast.calls,
            slow_call=tile.array.calls,
        )
        assert_same(tile, state, naive)
