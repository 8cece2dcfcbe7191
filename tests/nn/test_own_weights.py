"""Hardware-aware training in which every vector meets weights of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.nn import AnalogConv2d, AnalogLinear, AnalogLSTM
from tests.nn.test_hwa import BATCH, IN, NOISE, OUT, inputs, linear, spec, tile_of

OWN = {"modifier": NOISE["modifier"] | {"per_batch_sample": True}}


MADE: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (
        lambda tile: AnalogLinear(IN, OUT, bias=False, tile=tile, seed=2),
        (6, IN),
    ),
    "conv": (
        lambda tile: AnalogConv2d(3, 4, 2, bias=False, padding=1, tile=tile, seed=2),
        (6, 3, 5, 5),
    ),
    "lstm": (
        lambda tile: AnalogLSTM(
            IN, OUT, bias=False, batch_first=True, tile=tile, seed=2
        ),
        (6, 4, IN),
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_each_vector_meets_its_own_weights_both_ways(kind: str) -> None:
    make, shape = MADE[kind]
    layer = make(spec(**OWN))
    x = inputs(1, *shape[1:]).repeat(6, *[1] * (len(shape) - 1)).requires_grad_()
    y = layer(x)[0] if kind == "lstm" else layer(x)
    assert len(torch.unique(y.detach().flatten(1), dim=0)) == 6, (
        "equal samples give different outputs"
    )
    (y * torch.arange(1.0, 7).view(-1, *[1] * (y.dim() - 1))).sum().backward()
    assert x.grad is not None
    assert (
        len(torch.unique(x.grad.flatten(1) / torch.arange(1.0, 7).view(-1, 1), dim=0))
        == 6
    )


def test_gradients_of_vectors_with_weights_of_their_own() -> None:
    """The way back meets the same weights: d (W x) = (d W) x for every vector. Their own gradient
    is d^T x."""
    layer, x, d = linear(**OWN), inputs().requires_grad_(), inputs(BATCH, OUT)
    y = layer(x) - layer.grid.bias
    y.backward(d)
    weight = tile_of(layer).tile.weight
    assert x.grad is not None and weight.grad is not None
    torch.testing.assert_close(
        (x.grad * x).sum(1), (y * d).sum(1), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(x.grad, d @ weight.detach(), atol=1e-2)
    torch.testing.assert_close(weight.grad, d.T @ x.detach())
    layer.eval()
    torch.testing.assert_close(
        layer(x), torch.nn.functional.linear(x, *layer.get_weights())
    )


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_noise_of_own_weights_has_the_variance_asked_for(per_channel: bool) -> None:
    modifier = OWN["modifier"] | {"per_channel": per_channel}
    layer, x = linear(modifier=modifier), inputs(1, IN).expand(4000, IN)
    noise = (layer(x) - torch.nn.functional.linear(x, *layer.get_weights())).detach()
    largest = tile_of(layer).tile.weight.detach().abs().amax(1)
    largest = largest if per_channel else largest.max().expand(OUT)
    wanted = 0.2 * largest * x[0].norm()
    torch.testing.assert_close(noise.std(0), wanted, rtol=0.05, atol=0)
    torch.testing.assert_close(
        torch.corrcoef(noise.T), torch.eye(OUT), rtol=0, atol=0.07
    )
