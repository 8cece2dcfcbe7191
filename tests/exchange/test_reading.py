"""Weights read through the periphery, beside those that the cells hold."""

from __future__ import annotations

import pytest
import torch

from engine.inference import program
from engine.nn import AnalogLinear, AnalogTile, analog_tiles, read_weights
from engine.presets import inference, preset

QUIET = {"out_noise": 0.0, "inp_res": -1.0, "out_res": -1.0, "out_bound": 0.0}


def tile_of(name: str, **forward: object) -> AnalogTile:
    """The tile of a linear layer whose weights are scaled to it."""
    scaled = {"weight_scaling_omega": 0.6}
    layer = AnalogLinear(
        6, 5, tile=preset(name, forward=forward, mapping=scaled), seed=3
    )
    return next(analog_tiles(layer))


@pytest.mark.parametrize(
    "name", ["ecram", "tiki_taka_ecram", "standard_hwa", "reram_es2"]
)
def test_an_exact_periphery_finds_what_the_cells_hold(name: str) -> None:
    tile = tile_of(name, is_perfect=True)
    torch.testing.assert_close(
        read_weights(tile), tile.get_weights(), atol=1e-6, rtol=0
    )


def test_the_noise_of_a_read_averages_out() -> None:
    tile = tile_of("ecram", **QUIET | {"out_noise": 0.1})
    exact, scale = tile.get_weights(), float(tile.scale)

    def spread(reads: int) -> float:
        found = torch.stack([read_weights(tile, reads=reads) for _ in range(40)])
        return float((found - exact).std()) / scale

    # The noise of an output is 0.1 in units of the tile, drawn for every read.
    assert spread(1) == pytest.approx(0.1, rel=0.1)
    assert spread(16) == pytest.approx(0.025, rel=0.1)


def test_drift_is_in_what_is_read_and_the_mode_stays() -> None:
    layer = AnalogLinear(
        6, 5, tile=preset("standard_hwa", forward={"is_perfect": True}), seed=3
    )
    tile = next(analog_tiles(layer))
    assert tile.training
    trained = read_weights(tile)
    assert tile.training
    programmed = program(layer.eval(), inference("pcm", compensation="none"), seed=1)
    programmed.drift_to("1y")
    drifted = read_weights(tile)
    assert float(drifted.abs().mean()) < 0.8 * float(trained.abs().mean())
    with pytest.raises(ValueError, match="at least 1"):
        read_weights(tile, reads=0)
