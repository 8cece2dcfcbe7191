"""Mapping scales: the tile holds scaled weights; a step of the optimizer changes logical ones as if unscaled."""

from __future__ import annotations

import pytest
import torch

from engine.nn import AnalogLinear
from engine.optim import AnalogSGD
from engine.tile.settings import TileSpec


@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("compensation", [False, True])
def test_a_step_changes_the_logical_weights_as_if_unscaled(columnwise: bool, compensation: bool) -> None:
    """With exact updates dW = -lr d x whatever the scales are, as with aihwkit 1.2 for one scale a tile."""
    mapping = {
        "weight_scaling_omega": 0.5,
        "weight_scaling_columnwise": columnwise,
        "weight_scaling_lr_compensation": compensation,
    }
    perfect = {"is_perfect": True}
    tile = {"forward": perfect, "backward": perfect, "mapping": mapping}
    layer = AnalogLinear(7, 5, tile=TileSpec.from_config({"device": {"model": "ideal"}, "tile": tile}), seed=3)
    generator = torch.Generator().manual_seed(5)
    layer.set_weights(torch.randn(5, 7, generator=generator) * torch.arange(1, 6)[:, None], torch.zeros(5))
    before, x = layer.get_weights()[0], torch.randn(4, 7, generator=generator)
    d = torch.randn(4, 5, generator=generator)
    (layer(x) * d).sum().backward()
    AnalogSGD(layer.parameters(), lr=0.1).step()
    torch.testing.assert_close(layer.get_weights()[0], before - 0.1 * d.T @ x, atol=1e-5, rtol=1e-5)
