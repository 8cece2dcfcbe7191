"""Mapping scales: steps change logical weights as if unscaled; the bound of the ADC is one of
unscaled outputs."""

from __future__ import annotations

import pytest
import torch

from engine.nn import AnalogLinear, analog_tiles
from engine.optim import AnalogSGD
from engine.tile.settings import TileSpec


@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("compensation", [False, True])
def test_a_step_changes_the_logical_weights_as_if_unscaled(
    columnwise: bool, compensation: bool
) -> None:
    """With exact updates dW = -lr d x whatever the scales are, as with aihwkit 1.2 for one scale a
    tile."""
    mapping = {
        "weight_scaling_omega": 0.5,
        "weight_scaling_columnwise": columnwise,
        "weight_scaling_lr_compensation": compensation,
    }
    perfect = {"is_perfect": True}
    tile = {"forward": perfect, "backward": perfect, "mapping": mapping}
    layer = AnalogLinear(
        7,
        5,
        tile=TileSpec.from_config({"device": {"model": "ideal"}, "tile": tile}),
        seed=3,
    )
    generator = torch.Generator().manual_seed(5)
    layer.set_weights(
        torch.randn(5, 7, generator=generator) * torch.arange(1, 6)[:, None],
        torch.zeros(5),
    )
    before, x = layer.get_weights()[0], torch.randn(4, 7, generator=generator)
    d = torch.randn(4, 5, generator=generator)
    (layer(x) * d).sum().backward()
    AnalogSGD(layer.parameters(), lr=0.1).step()
    torch.testing.assert_close(
        layer.get_weights()[0], before - 0.1 * d.T @ x, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("algorithm", ["sgd", "hwa"])
@pytest.mark.parametrize("masks", [False, True])
def test_inputs_get_no_gradient_from_clipped_outputs_if_asked_for(
    algorithm: str, masks: bool
) -> None:
    """Also where bound management reads them; tested before the tile's scale. What weights learn is
    not masked."""
    forward = {
        "inp_res": -1,
        "out_res": -1,
        "out_noise": 0.0,
        "out_bound": 0.3,
        "out_scale": 1.5,
    }
    forward |= {"mask_clipped_gradient": masks}
    tile = {
        "forward": forward,
        "backward": {"is_perfect": True},
        "mapping": {"weight_scaling_omega": 0.5},
    }
    config = {
        "device": {"model": "ideal"},
        "tile": tile,
        "algorithm": {"name": algorithm},
    }
    layer = AnalogLinear(7, 5, tile=TileSpec.from_config(config), seed=3)
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(5, 7, generator=generator)
    layer.set_weights(weights, torch.zeros(5))
    x = torch.randn(40, 7, generator=generator).requires_grad_()
    d = torch.randn(40, 5, generator=generator)
    scale = weights.abs().max() / 0.5
    y = layer(x)
    torch.testing.assert_close(y, 1.5 * x @ weights.T, atol=1e-5, rtol=1e-5)
    clipped = (y / scale).abs() >= 0.999 * 1.5 * 0.3
    assert 0.1 < clipped.float().mean() < 0.9
    y.backward(d)
    assert x.grad is not None
    torch.testing.assert_close(
        x.grad,
        (d.masked_fill(clipped, 0.0) if masks else d) @ weights,
        atol=1e-5,
        rtol=1e-5,
    )
    AnalogSGD(layer.parameters(), lr=0.1).step()
    torch.testing.assert_close(
        layer.get_weights()[0], weights - 0.1 * d.T @ x.detach(), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("columnwise", [True, False])
def test_a_product_without_gradients_is_the_same(columnwise: bool) -> None:
    """Evaluation goes past autograd, and scales its outputs in place."""
    settings = {
        "input_range": {"enable": True},
        "mapping": {
            "weight_scaling_omega": 1.0,
            "learn_out_scaling": True,
            "out_scaling_columnwise": columnwise,
        },
    }
    spec = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}}
    layer = AnalogLinear(
        37, 150, tile=TileSpec.from_config({**spec, "tile": settings}), seed=1
    )
    (tile,) = analog_tiles(layer)
    assert tile.out_scale is not None
    assert tile.scale is not None
    with torch.no_grad():
        tile.out_scale.uniform_(-2, 2)
        tile.state.input_range.value.fill_(0.7)
    layer.eval()
    x = torch.randn(5, 37)
    tile.tile.read_calls = 0
    expected = layer(x)
    assert expected.requires_grad
    tile.tile.read_calls = 0
    with torch.no_grad():
        assert torch.equal(layer(x), expected)
        tile.tile.read_calls = 0
        read = tile.tile.mvm(tile.state.input_range.cut(x))
        factor = tile.state.input_range.value * tile.scale * tile.out_scale
        assert torch.equal(read * factor + layer.grid.bias, expected)
