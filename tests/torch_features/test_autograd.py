"""Autograd on tiles: second derivatives, checkpointing, hooks, and transforms of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from engine.nn import (
    AnalogConv2d,
    AnalogLayer,
    AnalogLinear,
    analog_tiles,
    convert_to_analog,
)
from engine.optim import make_optimizer
from tests.nn.layers import (
    LAYERS,
    NOISY,
    PERFECT,
    batch,
    call,
    make,
    spec,
    twin_of,
    weights,
)
from tests.nn.test_layers_hwa import HWA
from tests.nn.test_layers_hwa import NOISY as NOISY_HWA

EXACT = {"pulses": PERFECT, "gradients": {**PERFECT, **HWA}}
BASES = {"pulses": NOISY, "gradients": NOISY_HWA}
every_layer = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
exact = pytest.mark.parametrize("base", EXACT.values(), ids=EXACT)
noisy = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
SECOND = "second derivatives do not go through analog tiles"


@every_layer
@noisy
def test_second_derivatives_are_refused(
    kind: type[AnalogLayer], base: dict[str, Any]
) -> None:
    """Also by `torch.autograd.grad`, which passes by what does not lead to its inputs, and where the
    only way is a weight."""
    layer = make(kind, base)

    def slope(x: Tensor) -> Tensor:
        y = call(layer, x)
        return torch.autograd.grad(y.sum(), x, create_graph=True)[0]

    x = batch(kind).requires_grad_()
    with pytest.raises(RuntimeError, match=SECOND):
        slope(x).square().sum().backward()
    if kind.__name__ in (
        "AnalogLinear",
        "AnalogConv1d",
        "AnalogConv2d",
        "AnalogConv3d",
    ):
        flow = torch.ones_like(call(layer, x)).requires_grad_()
        (first,) = torch.autograd.grad(call(layer, x), x, flow, create_graph=True)
        with pytest.raises(RuntimeError, match=SECOND):
            torch.autograd.grad(first.sum(), flow)
    with pytest.raises(RuntimeError, match=SECOND):
        torch.autograd.functional.hessian(
            lambda v: call(layer, v).square().sum(), x.detach()
        )


@exact
def test_a_graph_of_the_gradient_alone_changes_nothing(base: dict[str, Any]) -> None:
    layer, twin, x = (
        make(AnalogConv2d, base),
        make(AnalogConv2d, base),
        batch(AnalogConv2d),
    )
    for made, graph in ((layer, True), (twin, False)):
        optimizer = make_optimizer(made, {"name": "analog_sgd", "lr": 0.1})
        call(made, x).square().sum().backward(create_graph=graph)
        optimizer.step()
    assert torch.equal(weights(layer), weights(twin))


@exact
def test_penalties_reach_digital_layers_beside_tiles(base: dict[str, Any]) -> None:
    """What does not go through a tile twice is torch's, digits and all."""
    torch.manual_seed(1)
    digital = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    head = AnalogLinear(1, 1, tile=spec(base), seed=1)
    x = torch.randn(2, 4, requires_grad=True)
    h = digital(x)
    (slope,) = torch.autograd.grad(h.sum(), x, create_graph=True)
    (slope.square().sum() + head(h).sum()).backward()
    assert digital[0].weight.grad is not None


@every_layer
@exact
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_is_torchs(
    kind: type[AnalogLayer], base: dict[str, Any], reentrant: bool
) -> None:
    layer, x = make(kind, base), batch(kind).requires_grad_()
    twin = twin_of(layer)
    optimizer = make_optimizer(layer, {"name": "analog_sgd", "lr": 0.1})
    for _ in range(2):
        for made, step in (
            (layer, optimizer),
            (twin, torch.optim.SGD(twin.parameters(), lr=0.1)),
        ):
            step.zero_grad()
            checkpoint(
                lambda v, m=made: call(m, v), x, use_reentrant=reentrant
            ).square().sum().backward()
            step.step()
    wanted = dict(twin.state_dict())
    torch.testing.assert_close(layer.logical_weights(), wanted, rtol=1e-3, atol=1e-4)


@every_layer
@noisy
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_trains_noisy_tiles(
    kind: type[AnalogLayer], base: dict[str, Any], reentrant: bool
) -> None:
    layer, x = make(kind, base), batch(kind).requires_grad_()
    optimizer = make_optimizer(layer, {"name": "analog_sgd", "lr": 0.01})
    before = weights(layer)
    checkpoint(
        lambda v: call(layer, v), x, use_reentrant=reentrant
    ).square().sum().backward()
    optimizer.step()
    assert not torch.equal(weights(layer), before)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_counts_a_batch_once(reentrant: bool) -> None:
    """The second computation of a product must not move the input range between the two ways."""
    ranges = {}
    for way in ("once", "again"):
        layer = AnalogLinear(
            4,
            3,
            tile=spec(
                {**HWA, "tile": {"input_range": {"enable": True, "init_from_data": 5}}}
            ),
            seed=1,
        )
        limit = next(analog_tiles(layer)).state.input_range
        for number in range(3):
            x = (torch.linspace(-1, 1, 8).view(2, 4) * (number + 1)).requires_grad_()
            y = (
                checkpoint(layer, x, use_reentrant=reentrant)
                if way == "again"
                else layer(x)
            )
            y.sum().backward()
        assert (limit.batches, float(limit.seen)) == (3, 3.0)
        ranges[way] = limit.value.detach().clone()
    assert torch.equal(ranges["once"], ranges["again"])


def test_gradients_of_pulsed_weights_are_not_asked_for_one_by_one() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    (tile,) = analog_tiles(layer)
    with pytest.raises(RuntimeError, match=r"take loss.backward\(\), after which"):
        torch.autograd.grad(layer(torch.ones(2, 4)).sum(), [tile.held])
    assert not tile.pending
    layer(torch.ones(2, 4)).sum().backward(inputs=[tile.held])
    assert len(tile.pending) == 1


@noisy
def test_hooks_of_layers_meet_gradients(base: dict[str, Any]) -> None:
    layer, x = make(AnalogLinear, base), batch(AnalogLinear).requires_grad_()
    seen: dict[str, Tensor] = {}
    layer.register_forward_hook(lambda _, __, y: seen.__setitem__("y", y))
    layer.register_full_backward_pre_hook(lambda _, d: seen.__setitem__("d", d[0]))
    layer.register_full_backward_hook(lambda _, d, __: seen.__setitem__("x", d[0]))
    y = layer(x)
    y.sum().backward()
    assert torch.equal(seen["y"], y) and torch.equal(seen["d"], torch.ones_like(y))
    assert x.grad is not None and torch.equal(seen["x"], x.grad)


@noisy
def test_anomaly_detection_and_inference_mode(base: dict[str, Any]) -> None:
    layer, same, x = (
        make(AnalogLinear, base),
        make(AnalogLinear, base),
        batch(AnalogLinear),
    )
    with torch.autograd.detect_anomaly(check_nan=True):
        y = layer(x)
        y.sum().backward()
    assert torch.equal(y, same(x))
    with torch.inference_mode():
        found = layer.eval()(x)
    assert torch.equal(found, same.eval()(x)) and not found.requires_grad


TRANSFORMS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "vmap": lambda layer, x: torch.func.vmap(layer)(x.unsqueeze(1)),
    "jvp": lambda layer, x: torch.func.jvp(layer, (x,), (x,)),
    "grad": lambda layer, x: torch.func.grad(lambda v: layer(v).sum())(x),
    "jacrev": lambda layer, x: torch.func.jacrev(layer)(x),
    "hessian": lambda layer, x: torch.func.hessian(lambda v: layer(v).sum())(x),
    "export": lambda layer, x: torch.export.export(layer, (x,)),
    "fx": lambda layer, x: torch.fx.symbolic_trace(layer),
    "script": lambda layer, x: torch.jit.script(layer),
}


@noisy
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_functions_are_refused(name: str, base: dict[str, Any]) -> None:
    layer, x = make(AnalogLinear, base), batch(AnalogLinear)
    with pytest.raises(
        (RuntimeError, TypeError, ValueError, torch.fx.proxy.TraceError)
    ):
        TRANSFORMS[name](layer, x)
    layer(x)


@noisy
def test_forward_mode_is_refused(base: dict[str, Any]) -> None:
    layer, x = make(AnalogLinear, base), batch(AnalogLinear)
    with (
        forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="forward mode"),
    ):
        layer(forward_ad.make_dual(x, x))


@noisy
@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(False, id="network"),
        pytest.param(True, id="step", marks=pytest.mark.slow),
    ],
)
def test_the_compiler_leaves_tiles_as_they_are(
    base: dict[str, Any], whole: bool
) -> None:
    """Traced, kernels read memory that is not there: outputs were wrong, and the heap broken."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(1)
        layers = [nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3), nn.Tanh()]
        network = convert_to_analog(nn.Sequential(*layers), spec(base))
        optimizer = make_optimizer(network, {"name": "analog_sgd", "lr": 0.05})
        run = (
            torch.compile(network, backend="eager")
            if compiled and not whole
            else network
        )

        def step(x: Tensor, run: Any = run, optimizer: Any = optimizer) -> Tensor:
            run.zero_grad()
            y: Tensor = run(x)
            y.square().sum().backward()
            nn.utils.clip_grad_norm_(run.parameters(), 1.0)
            optimizer.step()
            return y

        advance = torch.compile(step, backend="eager") if compiled and whole else step
        for _ in range(2):
            y = advance(torch.linspace(-1, 1, 72).view(2, 1, 6, 6))
        state = (v for v in network.state_dict().values() if torch.is_tensor(v))
        results.append([y.detach(), *state])
    torch._dynamo.reset()
    for found, wanted in zip(*results, strict=True):
        assert torch.equal(found, wanted)
