"""Gradients of every layer on ideal tiles against finite differences, for inputs and for
weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.nn import AnalogLayer
from engine.optim import AnalogSGD
from tests.nn.layers import LAYERS, PERFECT, batch, call, make

pytestmark = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
STEP = 1e-2
SPLITS = [{}, {"max_input_size": 3, "max_output_size": 4}, {"digital_bias": False}]


def loss(layer: AnalogLayer, x: Tensor) -> Tensor:
    """A smooth function of all outputs, summed in double precision."""
    return torch.sin(call(layer, x).double()).sum()


def direction(like: Tensor, seed: int) -> Tensor:
    """A direction of length 1."""
    found = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return found / found.norm()


def difference(ahead: Tensor, behind: Tensor) -> Tensor:
    return (ahead - behind).detach() / (2 * STEP)


@pytest.mark.parametrize("mapping", SPLITS)
def test_inputs(kind: type[AnalogLayer], mapping: dict[str, Any]) -> None:
    layer, x = make(kind, PERFECT, **mapping), batch(kind).requires_grad_()
    found = torch.autograd.grad(loss(layer, x), x)[0]
    for seed in range(4):
        way = direction(x, seed)
        wanted = difference(loss(layer, x + STEP * way), loss(layer, x - STEP * way))
        torch.testing.assert_close(
            (found * way).sum().double(), wanted, rtol=2e-3, atol=2e-4
        )


@pytest.mark.parametrize("mapping", SPLITS)
def test_weights_and_biases(kind: type[AnalogLayer], mapping: dict[str, Any]) -> None:
    layer, x = make(kind, PERFECT, **mapping), batch(kind)
    start = layer.logical_weights()
    loss(layer, x).backward()
    AnalogSGD(layer.parameters(), lr=1.0).step()
    found = {
        name: start[name] - value for name, value in layer.logical_weights().items()
    }
    for seed, name in enumerate(start):
        way = direction(start[name], seed)
        sides = []
        for sign in (1, -1):
            layer.set_logical_weights({**start, name: start[name] + sign * STEP * way})
            sides.append(loss(layer, x))
        torch.testing.assert_close(
            (found[name] * way).sum().double(), difference(*sides), rtol=2e-3, atol=2e-4
        )
