"""Every layer in hardware-aware training: gradients like torch's, noise of its own in each step,
resumption."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.nn import AnalogLayer
from engine.optim import make_optimizer
from tests.nn.layers import LAYERS, PERFECT, batch, call, make, twin_of, weights

pytestmark = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
Kind = type[AnalogLayer]
HWA = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}}
NOISY: dict[str, Any] = {
    **HWA,
    "tile": {
        "forward": {
            "noise_management": "None",
            "bound_management": "None",
            "out_noise": 0.1,
        },
        "modifier": {"type": "AddNormal", "std_dev": 0.1},
        "clip": {"type": "FixedValue", "fixed_value": 1.0},
        "remap": {"type": "ChannelwiseSymmetric"},
        "input_range": {"enable": True, "init_from_data": 2},
        "mapping": {
            "weight_scaling_omega": 1.0,
            "weight_scaling_columnwise": True,
            "max_input_size": 5,
        },
    },
}


def steps(
    layer: AnalogLayer, optimizer: torch.optim.Optimizer, x: Tensor, count: int = 2
) -> list[Tensor]:
    """Outputs of some steps, the weights that they leave, and an evaluation."""
    outputs = []
    for _ in range(count):
        optimizer.zero_grad()
        y = call(layer, x)
        y.square().sum().backward()
        optimizer.step()
        outputs.append(y.detach())
    found = [*outputs, weights(layer), call(layer.eval(), x).detach()]
    layer.train()
    return found


@pytest.mark.parametrize(
    "mapping",
    [{}, {"max_input_size": 5, "max_output_size": 2, "weight_scaling_omega": 0.6}],
)
def test_perfect_tiles_have_torchs_gradients(
    kind: Kind, mapping: dict[str, Any]
) -> None:
    layer = make(kind, {**PERFECT, **HWA}, **mapping)
    twin, x = twin_of(layer), batch(kind).requires_grad_()
    flow = torch.randn_like(call(layer, x))
    found, wanted = (
        torch.autograd.grad(call(made, x), x, flow)[0] for made in (layer, twin)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    for made, optimizer in (
        (layer, make_optimizer(layer, {"name": "sgd", "lr": 0.1, "momentum": 0.5})),
        (twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.5)),
    ):
        for _ in range(2):
            optimizer.zero_grad()
            (call(made, x) * flow).sum().backward()
            optimizer.step()
    torch.testing.assert_close(
        layer.logical_weights(), dict(twin.state_dict()), rtol=1e-4, atol=1e-5
    )


def test_a_loaded_layer_continues_with_the_same_bits(kind: Kind) -> None:
    settings = {"name": "adam", "lr": 0.01}
    layer, fresh, x = make(kind, NOISY), make(kind, NOISY, seed=4), batch(kind)
    optimizer, other = make_optimizer(layer, settings), make_optimizer(fresh, settings)
    before = weights(layer)
    steps(layer, optimizer, x, 3)
    assert not torch.equal(weights(layer), before)
    fresh.load_state_dict(copy.deepcopy(layer.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    pairs = zip(steps(layer, optimizer, x), steps(fresh, other, x), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_noise_is_new_in_each_step(kind: Kind) -> None:
    layer, x = make(kind, NOISY), batch(kind)
    optimizer = make_optimizer(layer, {"name": "sgd", "lr": 0.0})
    first, second, *_ = steps(layer, optimizer, x)
    assert not torch.allclose(first, second)
