"""Transfers of cells of several devices: threads, lanes, checkpoints and processors do not matter;
what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.algorithms import find_algorithm
from engine.tile.group import CellGroup
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec, Update
from engine.tile.tile import Tile
from tests.exact.test_naive_rounds import CASES, CELLS, SHAPE, make
from tests.exact.test_naive_transfer import vectors
from tests.exact.test_transfer import (
    a_checkpoint_goes_on,
    a_gpu_leaves_the_same_bits,
    threads_do_not_matter,
)

EACH = pytest.mark.parametrize(("name", "fast", "slow"), CASES)


@EACH
def test_threads_do_not_matter(name: str, fast: str, slow: str) -> None:
    threads_do_not_matter(lambda: make(name, fast, slow), 40)


@EACH
def test_a_checkpoint_goes_on_bit_for_bit(name: str, fast: str, slow: str) -> None:
    a_checkpoint_goes_on(lambda: make(name, fast, slow))


@EACH
def test_lanes_are_single_runs(name: str, fast: str, slow: str) -> None:
    """Each of two lanes is what a single one with its seed is."""
    if name == "tiki_taka_random":
        pytest.skip(
            "lanes read other slices, so that their rounds, which number the noise, are others"
        )
    ends = []
    for lanes, seed in ((2, 11), (1, 11), (1, 12)):
        module, tile, state = make(name, fast, slow, lanes, seed)
        for n in range(3):
            x, d = (v.repeat(lanes, 1, 1) if lanes > 1 else v for v in vectors(n, 9))
            module.update(tile, state, x, d, 0.05)
        ends.append(
            (
                *(a.weight.detach() for a in state.arrays),
                state.buffer,
                tile.weight.detach(),
            )
        )
    for both, first, second in zip(*ends, strict=True):
        lanes = both.unbind(1 if both is ends[0][-2] else 0)
        assert torch.equal(lanes[0], first) and torch.equal(lanes[1], second)
    assert not torch.equal(ends[1][0], ends[2][0])


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("every", [1.0, 2.0])
def test_an_ideal_fast_array_follows_the_formula(columns: bool, every: float) -> None:
    """Also where a batch reads each slice many times."""
    given = {
        "units_in_mbatch": False,
        "transfer_columns": columns,
        "transfer_every": every,
        "transfer_lr": 0.0,
    }
    spec = AlgorithmSpec(
        "tiki_taka", given | {"transfer_lr": 1e-9}, {"fast": DeviceSpec("ideal")}
    )
    tile = Tile(*SHAPE, TileSpec(CELLS["all"], algorithm=spec), seed=1, tile_id=2)
    module = find_algorithm("tiki_taka")
    state, wanted = module.init(tile, tile.spec), torch.zeros(SHAPE)
    for n in range(3):
        x, d = vectors(n, 50)
        module.update(tile, state, x, d, 0.1)
        wanted -= 0.1 * d.T @ x
        torch.testing.assert_close(
            state.fast.weight.detach(), wanted, rtol=1e-4, atol=1e-5
        )


def test_a_refresh_counts_mini_batches_once() -> None:
    """However many rounds they have; the visible array counts those in which it was written."""
    given = {"units_in_mbatch": False, "transfer_every": 3.0}
    pair = DeviceSpec("one_sided", {}, {"a": DeviceSpec()})
    tile = Tile(
        *SHAPE,
        TileSpec(pair, algorithm=AlgorithmSpec("tiki_taka", given)),
        seed=1,
        tile_id=2,
    )
    module = find_algorithm("tiki_taka")
    state = module.init(tile, tile.spec)
    for n, samples in enumerate(
        (40, 2, 2)
    ):  # 13 reads, then one at sample 42, then none
        module.update(tile, state, *vectors(n, samples), 0.03)
    assert isinstance(state.fast, CellGroup) and isinstance(tile.array, CellGroup)
    assert (state.fast.updates, state.fast.samples) == (3, 44)
    assert (tile.array.updates, tile.array.samples) == (2, 14)


REFUSED: dict[str, tuple[str, str, str, dict[str, Any], Update, str]] = {
    "turns": ("ttv2", "single", "sequential", {}, Update(), "needs the policy all, fixed or random"),
    "default": ("agad", "", "sequential", {}, Update(), "needs the policy all, fixed or random"),
    "states": ("chopped_ttv2", "pair", "single", {"transfer_every": -0.1}, Update(), "transfer_every must be > 0"),
    "fast pulses": ("ttv2", "random", "single", {}, Update(pulse_type="None"), "fast array's policy random needs"),
    "pulses": (
        "tiki_taka", "single", "one_sided", {"transfer_update": {"pulse_type": "NoneWithDevice"}}, Update(),
        "visible array's one_sided needs; take StochasticCompressed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_refused(name: str) -> None:
    algorithm, fast, slow, values, update, message = REFUSED[name]
    devices = {"fast": CELLS[fast]} if fast else {}
    spec = TileSpec(
        CELLS[slow], algorithm=AlgorithmSpec(algorithm, values, devices), update=update
    )
    with pytest.raises(ValueError, match=message):
        find_algorithm(algorithm).check_tile(spec, *SHAPE)


@pytest.mark.gpu
@EACH
def test_a_gpu_leaves_the_same_bits(name: str, fast: str, slow: str) -> None:
    a_gpu_leaves_the_same_bits(lambda: make(name, fast, slow))
