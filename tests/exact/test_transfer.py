"""Transfers between arrays: threads, lanes, copies and checkpoints change nothing; ideal devices
follow the formula."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.algorithms import find_algorithm
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec, Update
from engine.tile.strategies import update as update_kernels
from engine.tile.tile import Tile
from engine.tile.transfers import args, transfer
from tests.exact.test_naive_transfer import CASES, SHAPE, make, vectors

MEMBERS = (
    "tiki_taka_random",
    "ttv2_kept",
    "chopped_regular",
    "agad",
    "residual_rows",
    "residual_v2",
    "multi_tile",
)


def tensors(tile: Tile, state: Any) -> list[torch.Tensor]:
    found = {
        **tile.state_dict(),
        **{f"state.{k}": v for k, v in state.state_dict().items()},
    }
    return [v.clone() for k, v in sorted(found.items())]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


Made = Callable[[], tuple[Any, Tile, Any]]


def after_updates(
    made: Made, samples: int, *, times: int = 2, where: str = "cpu"
) -> list[torch.Tensor]:
    """What is left after some updates of so many samples."""
    module, tile, state = made()
    tile.to(where)
    state.to(where)
    for n in range(times):
        x, d = (v.to(where) for v in vectors(n, samples))
        module.update(tile, state, x, d, 0.03)
        module.end_of_batch(tile, state)
    return [t.cpu() for t in tensors(tile, state)]


def threads_do_not_matter(made: Made, samples: int) -> None:
    results, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(after_updates(made, samples))
    finally:
        torch.set_num_threads(threads)
    assert_equal(*results)


def a_checkpoint_goes_on(made: Made) -> None:
    module, tile, state = made()
    for n in range(3):
        module.update(tile, state, *vectors(n, 4), 0.03)
    _, other, fresh = made()
    other.load_state_dict(copy.deepcopy(tile.state_dict()))
    fresh.load_state_dict(copy.deepcopy(state.state_dict()))
    for n in range(3, 6):
        for t, s in ((tile, state), (other, fresh)):
            module.update(t, s, *vectors(n, 4), 0.03)
            module.end_of_batch(t, s)
    assert_equal(tensors(tile, state), tensors(other, fresh))


def a_gpu_leaves_the_same_bits(made: Made) -> None:
    """Few samples and many, of which a GPU makes sample masks."""
    for samples, times in ((9, 6), (300, 2)):
        places = ("cpu", "cuda")
        assert_equal(
            *(
                after_updates(made, samples, times=times, where=where)
                for where in places
            )
        )


@pytest.mark.parametrize("name", CASES)
def test_threads_do_not_matter(name: str) -> None:
    threads_do_not_matter(lambda: make(name), 70)


@pytest.mark.parametrize("name", CASES)
def test_walks_do_not_depend_on_the_loop(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Those that a GPU runs, a warp for 32 cells in lockstep, on the CPU."""
    own = after_updates(lambda: make(name), 70)
    request.getfixturevalue("loops_of_a_gpu")
    assert_equal(own, after_updates(lambda: make(name), 70))


@pytest.mark.usefixtures("loops_of_a_gpu")
@pytest.mark.parametrize("name", CASES)
def test_kernels_of_a_gpu_leave_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernel by kernel, with sample masks where they can be, and with all reads listed in
    parallel."""
    own = [after_updates(lambda: make(name), samples) for samples in (70, 3)]
    monkeypatch.setattr(transfer, "walk", args.launch)
    monkeypatch.setattr(args, "FEW_READS", 0)
    monkeypatch.setattr(update_kernels, "SPARSE_SAMPLES", 2)
    assert_equal(own[0], after_updates(lambda: make(name), 70))
    assert_equal(own[1], after_updates(lambda: make(name), 3))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_checkpoint_goes_on_bit_for_bit(name: str) -> None:
    a_checkpoint_goes_on(lambda: make(name))


def test_a_copy_has_noise_of_its_own() -> None:
    module, tile, state = make("chopped_ttv2")
    module.update(tile, state, *vectors(0, 4), 0.03)
    other, fresh = copy.deepcopy((tile, state))
    assert torch.equal(fresh.fast.weight, state.fast.weight)
    before = state.fast.weight.detach().clone()
    for t, s in ((tile, state), (other, fresh)):
        module.update(t, s, *vectors(1, 4), 0.03)
    assert not torch.equal(state.fast.weight, before)
    assert not torch.equal(fresh.fast.weight, state.fast.weight)


def test_weights_are_set_through_the_last_array() -> None:
    module, tile, state = make("tiki_taka_chain")
    module.update(tile, state, *vectors(0, 4), 0.03)
    wanted = torch.full(SHAPE, 0.05)
    module.set_weights(tile, state, wanted)
    assert state.counters.abs().sum() == 0
    assert state.fast.persistent.abs().max() == 0
    noise = tile.weight.detach() - wanted
    assert noise.abs().max() < 0.2


def exact_tile(name: str, **settings: Any) -> tuple[Any, Tile, Any]:
    ideal = DeviceSpec("ideal")
    spec = AlgorithmSpec(name, {"transfer_forward": {"is_perfect": True}} | settings)
    tile = Tile(
        *SHAPE,
        TileSpec(device=ideal, algorithm=spec, update=Update()),
        seed=1,
        tile_id=2,
    )
    module = find_algorithm(name)
    return module, tile, module.init(tile, tile.spec)


@pytest.mark.parametrize("columns", [True, False])
def test_ideal_devices_follow_the_formula(columns: bool) -> None:
    module, tile, state = exact_tile(
        "tiki_taka", units_in_mbatch=False, transfer_columns=columns, transfer_every=2.0
    )
    a, c = torch.zeros(SHAPE), torch.zeros(SHAPE)
    for n in range(3):
        x, d = vectors(n, 6)
        module.update(tile, state, x, d, 0.1)
        for b in range(6):
            a -= 0.1 * torch.outer(d[b], x[b])
            if b % 2 == 1:
                s = (n * 3 + b // 2) % SHAPE[1 if columns else 0]
                at = (slice(None), s) if columns else (s, slice(None))
                c[at] += 0.1 * a[at]
    torch.testing.assert_close(state.fast.weight.detach(), a, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tile.weight.detach(), c, rtol=1e-5, atol=1e-6)


def test_residual_arrays_follow_their_equations() -> None:
    """P follows the gradient, H the running mean of P, W moves by beta H; the tile shows W + gamma
    P."""
    size, gamma, beta, m = SHAPE[1], 0.4, 0.3, 0.7
    for name, more in (
        ("residual", {}),
        ("residual_v2", {"momentum": m, "thres_scale": 0.0}),
    ):
        module, tile, state = exact_tile(name, gamma=gamma, transfer_lr=beta, **more)
        p, w, h = torch.zeros(SHAPE), torch.zeros(SHAPE), torch.zeros(SHAPE)
        for n in range(8):
            x, d = vectors(n, 6)
            module.update(tile, state, x, d, 0.1)
            p -= 0.1 * d.T @ x
            s = n % size
            h[:, s] = m * h[:, s] + (1 - m) * p[:, s]
            w[:, s] += beta * (p if name == "residual" else h)[:, s]
        torch.testing.assert_close(state.fast.weight.detach(), p, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state.last, w, rtol=1e-4, atol=1e-5)
        module.end_of_batch(tile, state)
        torch.testing.assert_close(
            tile.weight.detach(), w + gamma * p, rtol=1e-4, atol=1e-5
        )


def test_coarser_tiles_get_what_finer_ones_learned() -> None:
    size, gamma, number = SHAPE[1], 0.5, 4
    module, tile, state = exact_tile(
        "multi_tile_residual", arrays=number, transfer_every=1.0, every_factor=2.0
    )
    w = [torch.zeros(SHAPE) for _ in range(number)]  # the finest first
    turns = [0] * number
    for n in range(1, 41):
        x, d = vectors(n, 3)
        module.update(tile, state, x, d, 0.05)
        w[0] -= 0.05 * d.T @ x
        for k in range(number - 1):
            if n % 2**k == 0:
                s = turns[k] % size
                w[k + 1][:, s] += 0.1 * 1.2 ** (number - 1 - k) * w[k][:, s]
                turns[k] += 1
    module.end_of_batch(tile, state)
    for ours, wanted in zip(
        (*(a.weight.detach() for a in state.arrays), state.last), w, strict=True
    ):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
    whole = sum(gamma ** (number - 1 - k) * w[k] for k in range(number))
    torch.testing.assert_close(tile.weight.detach(), whole, rtol=1e-4, atol=1e-4)
    module.set_weights(tile, state, torch.full(SHAPE, 0.25))
    assert torch.equal(tile.weight.detach(), torch.full(SHAPE, 0.25))
    assert all(a.weight.abs().max() == 0 for a in state.arrays)


def test_residual_v2_waits_for_a_step() -> None:
    """Nothing is written while the running mean is within the step of a cell, whatever the rate."""
    spec = AlgorithmSpec(
        "residual_v2",
        {"transfer_forward": {"is_perfect": True}, "transfer_lr": 5.0, "momentum": 0.9},
    )
    coarse = DeviceSpec(
        "constant_step", {"dw_min": 0.1, "dw_min_dtod": 0.0, "dw_min_std": 0.0}
    )
    tile = Tile(
        *SHAPE,
        TileSpec(device=coarse, algorithm=spec, update=Update()),
        seed=1,
        tile_id=2,
    )
    module = find_algorithm("residual_v2")
    state = module.init(tile, tile.spec)
    state.fast.set_weights(torch.full(SHAPE, 0.5))
    x, d = torch.zeros(1, SHAPE[1]), torch.zeros(1, SHAPE[0])
    reads = []
    for n in range(1, 31):
        module.update(tile, state, x, d, 0.1)
        if n % SHAPE[1] == 0:
            reads.append(bool(state.last.abs().max() > 0))
    # 0.5 (1 - 0.9^n) exceeds 0.1 from the third read on.
    assert reads == [False, False, True, True, True]


WRONG = {
    "tiles": ("multi_tile_residual", {"arrays": 9}, "arrays must be <= 8"),
    "one tile": ("multi_tile_residual", {"arrays": 1}, "arrays must be >= 2"),
    "late": (
        "multi_tile_residual",
        {"arrays": 8, "every_factor": 20.0},
        "must be at most 1000000",
    ),
    "no share": ("residual", {"gamma": 0.0}, "gamma must be > 0"),
    "mean": ("residual_v2", {"momentum": 1.5}, "momentum must be <= 1"),
    "transfer_every": (
        "tiki_taka",
        {"transfer_every": 0.0},
        "transfer_every must be > 0",
    ),
    "rounded": (
        "ttv2",
        {"transfer_every": 0.2, "units_in_mbatch": False},
        "period of 0 samples",
    ),
    "gamma_vec": (
        "tiki_taka",
        {"gamma_vec": [0.1, 0.2, 1.0]},
        "gamma_vec must have 2 numbers",
    ),
    "last": ("tiki_taka", {"gamma_vec": [1.0, 0.0]}, "must not end with 0"),
    "zero": ("chopped_ttv2", {"transfer_every": 0.0}, "must not be 0"),
    "chopper": ("agad", {"in_chop_prob": 0.0}, "in_chop_prob must be > 0"),
    "key": ("agad", {"in_chop": 0.1}, "nearest: in_chop"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    algorithm, values, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        find_algorithm(algorithm).check_tile(
            TileSpec(algorithm=AlgorithmSpec(algorithm, values)), *SHAPE
        )


def test_an_array_that_an_algorithm_does_not_have_is_refused() -> None:
    spec = TileSpec(algorithm=AlgorithmSpec("ttv2", {}, {"quick": DeviceSpec()}))
    with pytest.raises(ValueError, match="has no array 'quick'; it has fast"):
        find_algorithm("ttv2").init(Tile(2, 3, spec), spec)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_leaves_the_same_bits(name: str) -> None:
    a_gpu_leaves_the_same_bits(lambda: make(name))


@pytest.mark.gpu
@pytest.mark.parametrize("columns", [True, False])
def test_ideal_devices_on_a_gpu(columns: bool) -> None:
    results = []
    for where in ("cpu", "cuda"):
        module, tile, state = exact_tile(
            "tiki_taka", units_in_mbatch=False, transfer_columns=columns
        )
        tile.to(where)
        state.to(where)
        module.update(tile, state, *(v.to(where) for v in vectors(0, 6)), 0.1)
        results.append([t.cpu() for t in tensors(tile, state)])
    assert_equal(*results)


def test_lanes_are_apart() -> None:
    """Two lanes with the key of the first leave what two single tiles leave."""
    x, d = vectors(0, 6)
    spec = AlgorithmSpec(
        "chopped_ttv2",
        {
            "in_chop_prob": 0.3,
            "transfer_lr": 90.0,
            "out_chop_prob": 0.2,
            "momentum": 0.5,
        },
    )
    ends = []
    for lanes in (1, 2):
        tile = Tile(*SHAPE, TileSpec(algorithm=spec), seed=1, tile_id=2, lanes=lanes)
        module = find_algorithm("chopped_ttv2")
        state = module.init(tile, tile.spec)
        for _ in range(8):
            lane = (lanes, 1, 1) if lanes > 1 else (1, 1)
            module.update(tile, state, x.repeat(*lane), d.repeat(*lane), 0.05)
        ends.append((state.fast.weight.detach(), state.buffer[0], tile.weight.detach()))
    for single, both in zip(*ends, strict=True):
        assert torch.equal(single, both[0])
        assert not torch.equal(single, both[1])
