"""Torch's optimizers, scalers and clipping on pulsed tiles: as in torch, or refused at the first
step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.nn import AnalogLinear, analog_tiles, convert_to_analog, convert_to_digital
from engine.optim import AnalogSGD, digital_parameters, pulsed_parameters
from engine.tile.settings import TileSpec
from tests.nn.layers import NOISY, PERFECT, spec
from tests.nn.test_layers_hwa import HWA

SCALED: dict[str, Any] = {"weight_scaling_omega": 0.5, "max_input_size": 3}
OPTIMIZERS = sorted(
    {k for k in vars(torch.optim).values() if isinstance(k, type) and issubclass(k, torch.optim.Optimizer)}
    - {torch.optim.Optimizer},
    key=lambda kind: kind.__name__,
)  # fmt: skip
SETTINGS: list[dict[str, Any]] = [
    {}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"foreach": True}, {"fused": True}, {"maximize": True},
]  # fmt: skip


def networks(tile: TileSpec) -> tuple[nn.Module, nn.Module, Tensor]:
    """A digital network, the same one on tiles, and inputs."""
    torch.manual_seed(1)
    digital = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    return digital, convert_to_analog(digital, tile), torch.randn(6, 4)


def both(
    change: Callable[[nn.Module], Any], tile: TileSpec, factor: float = 30.0
) -> list[Any]:
    """One SGD step of a digital network and of the same one on perfect tiles, between which
    `change` sees each; the weights must be equal."""
    digital, analog, x = networks(tile)
    found = []
    for network in (digital, analog):
        (network(x).square().sum() * factor).backward()
        found.append(change(network))
    torch.optim.SGD(digital.parameters(), lr=0.1).step()
    AnalogSGD(analog.parameters(), lr=0.1).step()
    wanted, got = digital.state_dict(), convert_to_digital(analog).state_dict()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    return found


def combinations() -> list[tuple[Any, dict[str, Any]]]:
    """Every optimizer of torch with every setting that it has."""
    found = []
    for kind in OPTIMIZERS:
        for settings in SETTINGS:
            try:
                kind([nn.Parameter(torch.ones(1))], lr=0.1, **settings)
            except (TypeError, ValueError, RuntimeError):
                continue
            found.append((kind, settings))
    return found


@pytest.mark.parametrize(("kind", "settings"), combinations())
def test_every_optimizer_of_torch_is_refused(
    kind: Any, settings: dict[str, Any]
) -> None:
    _, analog, x = networks(spec(NOISY))
    optimizer = kind(analog.parameters(), lr=0.1, **settings)
    loss = analog(x).square().sum()
    loss.backward()
    step = (
        (lambda: optimizer.step(lambda: loss))
        if kind is torch.optim.LBFGS
        else optimizer.step
    )
    with pytest.raises(RuntimeError) as caught:
        step()
    if kind is not torch.optim.SparseAdam:  # has reasons of its own
        assert "learn by pulses, which engine.optim.AnalogSGD makes" in str(
            caught.value
        )
    assert "\n" not in str(caught.value)


def test_a_step_by_hand_is_refused() -> None:
    _, analog, x = networks(spec(NOISY))
    analog(x).square().sum().backward()
    (first, *_) = pulsed_parameters(analog)
    attempts: list[Callable[[], Any]] = [
        lambda: first.data.sub_(first.grad),
        lambda: first.data.add_(first.grad * 0.1),
        lambda: first.data.mul_(first.grad),
        lambda: first.data.copy_(first.grad),
        lambda: torch._foreach_add_([first], [first.grad], alpha=-0.1),
        lambda: first.grad + 1.0,
        lambda: first.grad.mul_(torch.ones(5, 4)),
    ]
    for attempt in attempts:
        with torch.no_grad(), pytest.raises(RuntimeError, match="learn by pulses"):
            attempt()


def test_gradients_cannot_be_set_nor_hooked() -> None:
    _, analog, x = networks(spec(NOISY))
    (first, *_) = pulsed_parameters(analog)
    with pytest.raises(RuntimeError, match="cannot be set: pulses are made"):
        first.grad = torch.ones(5, 4)
    analog(x).square().sum().backward()
    with pytest.raises(RuntimeError, match="cannot be set: pulses are made"):
        first.grad = torch.ones(5, 4)
    for register in (first.register_hook, first.register_post_accumulate_grad_hook):
        with pytest.raises(RuntimeError, match="means nothing for analog weights"):
            register(lambda *_: None)


def test_adam_beside_pulses() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), AnalogLinear(5, 3, tile=spec(NOISY))
    )
    adam = torch.optim.Adam(digital_parameters(network), lr=0.1)
    pulses = AnalogSGD(pulsed_parameters(network), lr=0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network(torch.randn(6, 4)).square().sum().backward()
    adam.step()
    pulses.step()
    assert not [n for n, p in network.named_parameters() if torch.equal(p, before[n])]
    everything = [*digital_parameters(network), *pulsed_parameters(network)]
    assert {id(p) for p in everything} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize(
    "mapping", [{}, {"weight_scaling_omega": 0.5}], ids=["plain", "scaled"]
)
@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf")])
def test_clipping_by_norm_is_torchs(
    norm: float, foreach: bool | None, mapping: dict[str, Any]
) -> None:
    def clip(network: nn.Module) -> Tensor:
        return nn.utils.clip_grad_norm_(
            network.parameters(), 0.7, norm, foreach=foreach
        )

    wanted, found = both(clip, spec(PERFECT, **mapping))
    torch.testing.assert_close(found, wanted)


def test_clipping_of_a_matrix_on_several_tiles_is_torchs() -> None:
    """Squares add up over tiles, so that the 2-norm is that of the whole matrix."""

    def clip(network: nn.Module) -> Tensor:
        return nn.utils.clip_grad_norm_(network.parameters(), 0.7)

    wanted, found = both(clip, spec(PERFECT, **SCALED))
    torch.testing.assert_close(found, wanted)


def test_clipping_by_value_is_refused() -> None:
    _, analog, x = networks(spec(PERFECT))
    analog(x).sum().backward()
    with pytest.raises(RuntimeError, match="learn by pulses"):
        nn.utils.clip_grad_value_(analog.parameters(), 0.1)


@pytest.mark.parametrize("mapping", [{}, SCALED], ids=["plain", "scaled"])
def test_gradients_are_shown_and_scaled(mapping: dict[str, Any]) -> None:
    def change(network: nn.Module) -> None:
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.grad *= 0.5
            parameter.grad.mul_(torch.tensor(0.5)).div_(2)

    both(change, spec(PERFECT, **mapping))
    if mapping:
        return
    digital, analog, x = networks(spec(PERFECT))
    for network in (digital, analog):
        network(x).square().sum().backward()
        network(x).sum().backward()
    for wanted, tile in zip(
        (digital[0], digital[2]), analog_tiles(analog), strict=True
    ):
        found, right = tile.held.grad, wanted.weight.grad
        torch.testing.assert_close(found.dense(), right)
        for of in (
            torch.norm,
            torch.mean,
            torch.max,
            lambda g: g.abs().max(),
            lambda g: g.pow(2).sum(),
        ):
            torch.testing.assert_close(of(found), of(right))
        assert found.shape == right.shape and bool(found.isfinite().all())
        assert "2 recorded batches" in repr(found)


@pytest.mark.parametrize("mapping", [{}, SCALED], ids=["plain", "scaled"])
@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaler_changes_nothing(unscale: bool, mapping: dict[str, Any]) -> None:
    results = []
    for scale in (None, 1024.0):
        _, analog, x = networks(spec(NOISY, **mapping))
        optimizer = AnalogSGD(analog.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=scale or 1.0, enabled=scale is not None
        )
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(analog(x).square().sum()).backward()
            if unscale:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(analog.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        results.append(analog.state_dict())
    assert list(results[0]) == list(results[1])
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_a_scaler_leaves_a_step_out_where_numbers_overflow() -> None:
    _, analog, x = networks(spec(NOISY))
    optimizer = AnalogSGD(pulsed_parameters(analog), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    before = [p.detach().clone() for p in analog.parameters()]
    (scaler.scale(analog(x).square().sum()) * 1e35).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**19
    assert all(
        torch.equal(p, b) for p, b in zip(analog.parameters(), before, strict=True)
    )


@pytest.mark.parametrize(
    "base", [PERFECT, {**PERFECT, **HWA}], ids=["pulses", "gradients"]
)
@pytest.mark.parametrize("way", ["module", "module, to zero", "optimizer", "optimizer, to zero",
                                 "each None", "each zero", "plain optimizer"])  # fmt: skip
def test_every_way_to_drop_gradients(way: str, base: dict[str, Any]) -> None:
    layer = AnalogLinear(4, 3, tile=spec(base), seed=1)
    optimizer = AnalogSGD(layer.parameters(), lr=0.1)
    other = torch.optim.SGD(layer.parameters(), lr=0.1)

    def each(act: Callable[[Any], None]) -> None:
        for parameter in layer.parameters():
            act(parameter)

    ways: dict[str, Callable[[], Any]] = {
        "module": layer.zero_grad,
        "module, to zero": lambda: layer.zero_grad(set_to_none=False),
        "optimizer": optimizer.zero_grad,
        "optimizer, to zero": lambda: optimizer.zero_grad(set_to_none=False),
        "each None": lambda: each(lambda p: setattr(p, "grad", None)),
        "each zero": lambda: each(lambda p: p.grad.zero_()),
        "plain optimizer": lambda: other.zero_grad(set_to_none=False),
    }
    before = layer.get_weights()
    layer(torch.ones(2, 4)).sum().backward()
    ways[way]()
    optimizer.step()
    for found, wanted in zip(layer.get_weights(), before, strict=True):
        assert torch.equal(found, wanted)
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.get_weights()[0], before[0] - 0.2)


def test_thousands_of_attacks_without_a_step() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    for _ in range(4200):
        x = torch.ones(1, 4, requires_grad=True)
        layer.zero_grad()
        layer(x).sum().backward()
    assert len(next(analog_tiles(layer)).pending) == 1


def test_a_step_uses_the_samples_up() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    layer(torch.ones(2, 4)).sum().backward()
    optimizer = AnalogSGD(layer.parameters(), lr=0.1)
    optimizer.step()
    assert all(p.grad is None for p in pulsed_parameters(layer))


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none_is_refused(lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be finite and >= 0"):
        AnalogSGD([nn.Parameter(torch.ones(1))], lr=lr)
