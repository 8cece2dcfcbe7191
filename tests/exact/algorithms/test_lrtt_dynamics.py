"""Low-rank Tiki-Taka over many calls: invariants, friction, its limit of full rank, and training on
real digits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.algorithms import lrtt, tiki_taka
from engine.nn import AnalogLinear
from engine.nn.analog import analog_tiles
from engine.optim import AnalogSGD
from engine.presets import preset
from engine.tile.cells import CellArray
from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec
from engine.tile.tile import Tile
from tests.exact.algorithms.test_lrtt import (
    COLUMNS,
    PERFECT,
    RANK,
    ROWS,
    Run,
    close,
    spec_of,
)

QUIET = {
    "dw_min_dtod": 0.0,
    "dw_min_std": 0.0,
    "up_down_dtod": 0.0,
    "w_max_dtod": 0.0,
    "w_min_dtod": 0.0,
}


@pytest.mark.parametrize("gain", [0.0, 0.5, 4.0])
def test_the_start_is_that_of_a_plain_layer(gain: float) -> None:
    run = Run(spec_of(forward_gain=gain, after_transfer="redraw"))
    x = run.random(5, COLUMNS)
    close(lrtt.forward(run.tile, run.state, x), x @ run.c.T)


def test_a_short_last_batch_counts_as_one_call() -> None:
    run = Run(spec_of(transfer_every=2))
    sizes, moved = (4, 1, 4, 1, 1, 4), []
    for size in sizes:
        c = run.c.clone()
        run.step(0.1, run.random(size, COLUMNS), run.random(size, ROWS))
        moved.append(not torch.equal(run.c, c))
    assert moved == [False, True] * 3


def test_balance_changes_with_the_square_of_the_rate() -> None:
    """A A^T - B^T B is kept to first order."""
    changes = []
    for lr in (0.002, 0.02):
        run = Run(spec_of(transfer_every=1000))
        run.fill()
        before = run.a @ run.a.T - run.b.T @ run.b
        run.step(lr, 0.3 * run.random(4, COLUMNS), 0.3 * run.random(4, ROWS))
        changes.append(float((run.a @ run.a.T - run.b.T @ run.b - before).norm()))
    assert changes[1] / changes[0] == pytest.approx(100, rel=0.1)


def test_a_rotation_of_the_ranks_changes_nothing() -> None:
    q, _ = torch.linalg.qr(
        torch.randn(RANK, RANK, generator=torch.Generator().manual_seed(3))
    )
    runs = [Run(spec_of(transfer_every=2)) for _ in range(2)]
    for run in runs:
        run.fill()
    runs[1].a.copy_(q @ runs[0].a)
    runs[1].b.copy_(runs[0].b @ q.T)
    for _ in range(6):
        for run in runs:
            run.step(0.01)
    close(runs[0].c, runs[1].c)
    close(runs[0].b @ runs[0].a, runs[1].b @ runs[1].a)


@pytest.mark.parametrize("every", [1, 3])
def test_at_full_rank_with_a_fixed_identity_it_is_tiki_taka(every: int) -> None:
    """With A the identity, B is the full fast array; Tiki-Taka reads all its columns at each
    transfer."""
    low = Run(
        spec_of(transfer_every=every, rank=COLUMNS, lr_in=0.0, transfer_lr=0.3),
        COLUMNS,
        COLUMNS,
    )
    low.a.copy_(torch.eye(COLUMNS))
    given: dict[str, Any] = {
        "transfer_every": float(every),
        "n_reads_per_transfer": COLUMNS,
        "transfer_lr": 0.3,
    }
    given |= {
        "fast_lr": 0.0,
        "scale_transfer_lr": False,
        "transfer_forward": {"is_perfect": True},
    }
    spec = TileSpec(
        DeviceSpec("ideal"),
        algorithm=AlgorithmSpec("tiki_taka", given),
        forward=PERFECT,
        backward=PERFECT,
    )
    tile = Tile(COLUMNS, COLUMNS, spec, seed=1, tile_id=2)
    state = tiki_taka.init(tile, spec)
    tiki_taka.set_weights(tile, state, low.c.clone())
    for number in range(9):
        draw = torch.Generator().manual_seed(number)
        x, d = (
            torch.randn(4, COLUMNS, generator=draw),
            torch.randn(4, COLUMNS, generator=draw),
        )
        low.step(0.05, x, d)
        tiki_taka.update(tile, state, x, d, 0.05)
        close(low.b, state.fast.weight.data)
        close(low.c, tile.weight.data)


def swings(slope: float) -> tuple[float, float]:
    """Largest error of one weight early and late, with A fixed and a B of linear-step cells of that
    slope."""
    cells = {
        "dw_min": 0.002,
        "w_max": 3.0,
        "w_min": -3.0,
        "gamma_up": slope,
        "gamma_down": slope,
    }
    spec = spec_of(
        transfer_every=1, rank=1, lr_in=0.0, transfer_lr=0.05, init_in="orthogonal"
    )
    spec.algorithm.devices["out_factor"] = DeviceSpec("linear_step", cells | QUIET)
    run = Run(spec, 1, 1)
    run.c.fill_(1.0)
    one, errors = torch.ones(1, 1), []
    for _ in range(1500):
        errors.append(abs(float(run.c)))
        run.step(0.05, one, run.c.clone())
    return max(errors[:300]), max(errors[-300:])


def test_cells_whose_steps_shrink_damp_the_swing() -> None:
    first, damped = swings(1.0)
    _, kept = swings(0.0)
    assert damped < 0.3 * first
    assert kept > 2 * damped


def test_the_spread_of_pulsed_updates_grows_with_the_step() -> None:
    spreads = []
    for step in (0.002, 0.008):
        spec = spec_of(
            DeviceSpec("constant_step", QUIET | {"dw_min": step}),
            transfer="ranks",
            transfer_every=1000,
        )
        found = []
        for seed in range(80):
            tile = Tile(ROWS, COLUMNS, spec, seed=seed, tile_id=5)
            state = lrtt.init(tile, spec)
            state.in_factor.array.set_weights(torch.full((RANK, COLUMNS), 0.3))
            draw = torch.Generator().manual_seed(0)
            lrtt.update(
                tile,
                state,
                torch.randn(1, COLUMNS, generator=draw),
                torch.randn(1, ROWS, generator=draw),
                0.01,
            )
            found.append(state.out_factor.weight.data.clone())
        spreads.append(float(torch.stack(found).var(0).mean()))
    assert spreads[1] / spreads[0] == pytest.approx(4, rel=0.35)


def test_states_of_the_published_cells() -> None:
    cell = CellArray(1, 1, preset("lrtt_6t1c").device)
    assert 2.0 / cell.granularity == pytest.approx(1009.6, rel=1e-3)
    assert 2.0 / 2**10 == 0.001953125


def test_up_and_down_in_turn_lead_to_the_symmetry_point() -> None:
    """Each pair of pulses takes 2 gamma dw / w_max off the weight; a slope of 1 makes soft
    bounds."""
    weights = {}
    slopes = {
        "gamma_up": 1.0,
        "gamma_down": 1.0,
        "gamma_up_dtod": 0.0,
        "gamma_down_dtod": 0.0,
    }
    for model, more in (("linear_step", slopes), ("soft_bounds", {})):
        spec = DeviceSpec(
            model, QUIET | {"dw_min": 0.01, "w_max": 1.0, "w_min": -1.0} | more
        )
        tile = Tile(1, 1, TileSpec(spec), seed=1, tile_id=2)
        tile.array.set_weights(torch.full((1, 1), 0.8))
        for number in range(200):
            tile.array.pulse(1 if number % 2 else -1)
        weights[model] = float(tile.weight.detach())
    assert weights["linear_step"] == pytest.approx(weights["soft_bounds"], abs=1e-6)
    assert weights["linear_step"] == pytest.approx(
        0.8 * (1 - 2 * 0.01) ** 100, abs=0.02
    )


def test_digits_are_learned_better_than_with_a_frozen_layer() -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(pixels).float() / 8 - 1, torch.from_numpy(labels)
    right = {}
    for transfer in ("ranks", "none"):
        torch.manual_seed(0)
        tile = preset("lrtt_paper", rank=8, transfer_every=5, transfer=transfer)
        model = torch.nn.Sequential(
            AnalogLinear(64, 32, tile=tile, seed=1),
            torch.nn.ReLU(),
            torch.nn.Linear(32, 10),
        )
        optimizer = AnalogSGD(model.parameters(), lr=0.2)
        for batch in torch.arange(1500).split(20) * 6:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            right[transfer] = float(
                (model(x[1500:]).argmax(1) == y[1500:]).float().mean()
            )
        assert torch.isfinite(next(analog_tiles(model)).get_weights()).all()
    assert right["ranks"] > right["none"]
