"""Low-rank Tiki-Taka with ideal devices and perfect products: every rule of the algorithm as its
paper states it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.algorithms import lrtt
from engine.nn import AnalogLinear
from engine.nn.analog import analog_tiles
from engine.optim import AnalogSGD
from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, TileSpec
from engine.tile.tile import Tile

ROWS, COLUMNS, RANK = 6, 9, 3
PERFECT = IO(is_perfect=True)


def spec_of(device: DeviceSpec | None = None, **params: Any) -> TileSpec:
    algorithm = AlgorithmSpec(
        "lrtt", {"rank": RANK, "transfer_lr": 0.5, "transfer": "exact"} | params
    )
    return TileSpec(
        device=device or DeviceSpec("ideal"),
        algorithm=algorithm,
        forward=PERFECT,
        backward=PERFECT,
    )


class Run:
    """A tile with its factors by short names, and one update call."""

    def __init__(
        self, spec: TileSpec, rows: int = ROWS, columns: int = COLUMNS
    ) -> None:
        self.tile = Tile(rows, columns, spec, seed=1, tile_id=2)
        self.state = lrtt.init(self.tile, spec)
        self.draw = torch.Generator().manual_seed(0)
        lrtt.set_weights(self.tile, self.state, self.random(rows, columns))

    @property
    def a(self) -> Tensor:
        return self.state.in_factor.weight.data

    @property
    def b(self) -> Tensor:
        return self.state.out_factor.weight.data

    @property
    def c(self) -> Tensor:
        return self.tile.weight.data

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draw)

    def fill(self) -> None:
        """Any factors."""
        self.a.copy_(self.random(*self.a.shape))
        self.b.copy_(self.random(*self.b.shape))

    def step(
        self, lr: float = 0.1, x: Tensor | None = None, d: Tensor | None = None
    ) -> Tensor:
        """One call; returns G = D X^T."""
        x = self.random(4, self.c.shape[1]) if x is None else x
        d = self.random(4, self.c.shape[0]) if d is None else d
        lrtt.update(self.tile, self.state, x, d, lr)
        return d.T @ x


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_factors_have_their_true_size() -> None:
    run = Run(spec_of(DeviceSpec("constant_step"), transfer="ranks"))
    sizes = sorted(p.numel() for p in [*run.tile.parameters(), *run.state.parameters()])
    assert sizes == sorted([ROWS * COLUMNS, RANK * COLUMNS, ROWS * RANK])
    large = {
        name
        for name, t in run.state.state_dict().items()
        if t.numel() >= ROWS * COLUMNS and t.dim() == 2
    }
    assert not large


@pytest.mark.parametrize(
    "start, spread",
    [
        ("uniform", 1 / math.sqrt(3 * 400)),
        ("normal", math.sqrt(2 / 400)),
        ("orthogonal", 1 / 20),
    ],
)
def test_start(start: str, spread: float) -> None:
    run = Run(spec_of(init_in=start, init_gain=0.5, rank=20), 30, 400)
    assert not run.b.any()
    assert abs(float(run.a.std()) / (0.5 * spread) - 1) < 0.05
    if start == "orthogonal":
        close(run.a @ run.a.T, 0.25 * torch.eye(20))
    first = run.a.clone()
    gradient = run.step(0.1)
    assert torch.equal(run.a, first)
    close(run.b, -0.1 * gradient @ first.T)


def test_both_factors_move_from_what_they_were() -> None:
    run = Run(spec_of(lr_in=0.5, lr_out=2.0))
    run.fill()
    a, b, c = run.a.clone(), run.b.clone(), run.c.clone()
    gradient = run.step(0.1)
    close(run.a, a - 0.05 * b.T @ gradient)
    close(run.b, b - 0.2 * gradient @ a.T)
    assert torch.equal(run.c, c)


@pytest.mark.parametrize("gain", [0.0, 0.7])
def test_composition_and_its_transpose(gain: float) -> None:
    run = Run(spec_of(forward_gain=gain, after_transfer="redraw"))
    run.fill()
    x, d = run.random(5, COLUMNS), run.random(5, ROWS)
    whole = run.c + gain * run.b @ run.a
    close(lrtt.forward(run.tile, run.state, x), x @ whole.T)
    close(lrtt.backward(run.tile, run.state, d), d @ whole)
    close(lrtt.effective_weights(run.tile, run.state), whole)


def test_a_step_is_that_of_a_low_rank_layer() -> None:
    """With injection, the update is one SGD step of y = (W + g B A) x, by torch's own gradients."""
    gain, lr = 0.8, 0.05
    spec = spec_of(
        forward_gain=gain,
        lr_in=gain,
        lr_out=gain,
        transfer_every=1000,
        after_transfer="reset_out",
    )
    layer = AnalogLinear(COLUMNS, ROWS, bias=False, tile=spec, seed=3)
    tile = next(analog_tiles(layer))
    factors = tile.state.in_factor.weight.data, tile.state.out_factor.weight.data
    for factor in factors:
        factor.copy_(
            torch.randn(factor.shape, generator=torch.Generator().manual_seed(1))
        )
    c = tile.tile.weight.data.clone()
    a, b = (f.clone().requires_grad_() for f in factors)
    x = torch.randn(7, COLUMNS, generator=torch.Generator().manual_seed(2))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(ours).square().sum().backward()
    (theirs @ (c + gain * b @ a).T).square().sum().backward()
    AnalogSGD(layer.parameters(), lr=lr).step()
    assert (
        ours.grad is not None
        and theirs.grad is not None
        and a.grad is not None
        and b.grad is not None
    )
    close(ours.grad, theirs.grad)
    close(factors[0], (a - lr * a.grad).detach())
    close(factors[1], (b - lr * b.grad).detach())
    assert torch.equal(tile.tile.weight.data, c)


@pytest.mark.parametrize("after", ["keep", "reset_out", "redraw"])
def test_transfers_come_when_they_are_due(after: str) -> None:
    run = Run(spec_of(transfer_every=3, after_transfer=after))
    for call in range(1, 10):
        c, a = run.c.clone(), run.a.clone()
        run.step(0.01)
        if call % 3:
            assert torch.equal(run.c, c)
            continue
        change = run.c - c
        assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) == RANK
        assert run.state.transfers == call // 3
        if after == "keep":
            close(change, 0.5 * run.b @ run.a)
        else:
            assert not run.b.any()
        assert (after == "redraw") == (float((run.a - a).abs().max()) > 0.02)


def test_with_transfer_lr_as_gain_a_reset_does_not_change_what_the_layer_computes() -> (
    None
):
    run = Run(spec_of(transfer_every=2, after_transfer="reset_out", forward_gain=0.5))
    run.fill()
    run.step()
    x, d = run.random(4, COLUMNS), run.random(4, ROWS)
    gradient = d.T @ x
    a, b = run.a - 0.1 * run.b.T @ gradient, run.b - 0.1 * gradient @ run.a.T
    before = run.c + 0.5 * b @ a
    run.step(0.1, x, d)
    close(lrtt.effective_weights(run.tile, run.state), before)


def test_reset_at_every_call_keeps_the_row_space() -> None:
    run = Run(spec_of(transfer_every=1, after_transfer="reset_out"))
    start, a = run.c.clone(), run.a.clone()
    for _ in range(30):
        run.step()
    assert torch.equal(run.a, a)
    assert int(torch.linalg.matrix_rank(run.c - start, rtol=1e-4)) == RANK


def test_reset_with_orthogonal_rows_is_sgd() -> None:
    spec = spec_of(
        transfer_every=1,
        after_transfer="reset_out",
        init_in="orthogonal",
        rank=ROWS,
        lr_out=2.0,
    )
    run = Run(spec, 8, ROWS)
    start = run.c.clone()
    gradient = run.step(0.1)
    close(run.c, start - 0.5 * 0.2 * gradient)


def test_kept_factors_oscillate() -> None:
    """Frozen A, quadratic loss: no friction, so the error swings with period 2 pi / sqrt(rates)."""
    spec = spec_of(
        transfer_every=1, rank=1, lr_in=0.0, transfer_lr=0.01, init_in="orthogonal"
    )
    run = Run(spec, 1, 1)
    run.c.fill_(1.0)
    one, values = torch.ones(1, 1), []
    for _ in range(400):
        values.append(float(run.c))
        run.step(0.1, one, run.c.clone())
    rises = [k for k in range(1, 400) if values[k - 1] < 0 <= values[k]]
    period = 2 * math.pi / math.sqrt(0.001)
    assert abs(rises[1] - rises[0] - period) < 2
    assert abs(max(values[200:]) - 1) < 0.05


def test_settings_that_do_not_fit_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"rank": 7}, "rank must be 1 to 6"),
        ({"rank": 0}, "rank must be >= 1"),
        ({"transfer_every": 0}, "transfer_every must be >= 1"),
        ({"lr_in": -1.0}, "lr_in must be >= 0"),
        ({"rank_chunk": 4}, "rank_chunk must be 0"),
        ({"after_transfer": "forget"}, "keep, reset_out, redraw"),
        ({"io_aux": {"out_nois": 0.1}}, "out_noise"),
    ]
    for params, text in wrong:
        with pytest.raises(ValueError, match=text):
            Run(spec_of(**params))
    with pytest.raises(ValueError, match="rank must be 1 to 6"):
        AnalogLinear(COLUMNS, ROWS, tile=spec_of(rank=7))
    bad = spec_of()
    bad.algorithm.devices["fast"] = DeviceSpec("ideal")
    with pytest.raises(ValueError, match="in_factor, out_factor"):
        Run(bad)
    with pytest.warns(UserWarning, match="again and again"):
        Run(spec_of(forward_gain=1.0))


def test_edge_ranks_and_silent_samples() -> None:
    for rank in (1, ROWS):
        run = Run(
            spec_of(
                DeviceSpec("constant_step"),
                transfer="ranks",
                rank=rank,
                transfer_every=1,
            )
        )
        for _ in range(3):
            run.step(0.05)
        assert torch.isfinite(run.c).all()
        before = [v.clone() for v in (run.a, run.b)]
        run.state.transfers, run.state.calls = 0, 1
        lrtt.update(
            run.tile, run.state, torch.zeros(2, COLUMNS), run.random(2, ROWS), 0.05
        )
        assert torch.equal(run.a, before[0]) and torch.equal(run.b, before[1])


def test_pulses_move_as_the_formulas_on_average() -> None:
    quiet = {
        "dw_min": 0.001,
        "dw_min_dtod": 0.0,
        "dw_min_std": 0.0,
        "up_down_dtod": 0.0,
        "w_max": 1.0,
        "w_min": -1.0,
    }
    device = DeviceSpec("constant_step", quiet)
    spec = spec_of(device, transfer="ranks", transfer_every=1, transfer_lr=0.05)
    changes, wanted = [], []
    for seed in range(60):
        tile = Tile(ROWS, COLUMNS, spec, seed=seed, tile_id=5)
        state = lrtt.init(tile, spec)
        draw = torch.Generator().manual_seed(0)
        state.in_factor.array.set_weights(
            0.3 * torch.rand(RANK, COLUMNS, generator=draw)
        )
        state.out_factor.array.set_weights(0.3 * torch.rand(ROWS, RANK, generator=draw))
        x, d = (
            torch.randn(1, COLUMNS, generator=draw),
            torch.randn(1, ROWS, generator=draw),
        )
        a, b = state.in_factor.weight.data.clone(), state.out_factor.weight.data.clone()
        lrtt.update(tile, state, x, d, 0.01)
        gradient = d.T @ x
        a, b = a - 0.01 * b.T @ gradient, b - 0.01 * gradient @ a.T
        changes.append(tile.weight.data.clone())
        wanted.append(0.05 * b @ a)
    mean, error = (
        torch.stack(changes).mean(0),
        torch.stack(changes).std(0) / math.sqrt(60),
    )
    assert bool(((mean - wanted[0]).abs() < 4.5 * error + 2e-4).all())
    assert float(mean.min()) > 0


def test_chunks_bound_the_transfer_and_change_nothing_else() -> None:
    runs = [
        Run(spec_of(transfer_every=2, rank=4, rank_chunk=chunk)) for chunk in (0, 3)
    ]
    for _ in range(4):
        for run in runs:
            run.step(0.05)
    close(runs[0].c, runs[1].c)


def test_pulse_settings_of_factors_and_core_are_their_own() -> None:
    device = DeviceSpec("constant_step", {"dw_min": 0.01})
    short = {"desired_bl": 1, "update_bl_management": False, "update_management": False}
    changed = {}
    for name, params in {
        "none": {},
        "aux": {"update_aux": short},
        "core": {"update_core": short},
    }.items():
        run = Run(
            spec_of(
                device,
                transfer="ranks",
                transfer_every=2,
                after_transfer="keep",
                transfer_lr=1.0,
                **params,
            )
        )
        for _ in range(2):
            run.step(0.2)
        changed[name] = (run.b.clone(), run.c.clone())
    assert not torch.equal(changed["none"][0], changed["aux"][0])
    assert torch.equal(changed["none"][0], changed["core"][0])
    assert not torch.equal(changed["none"][1], changed["core"][1])
