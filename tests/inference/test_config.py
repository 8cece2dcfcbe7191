"""The section `inference` of a configuration: presets, values, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from aihw_cli.compose import compose
from engine.inference import InferenceSpec, program
from engine.inference.base import noise_model_names
from engine.presets import members
from engine.settings import UserError
from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.tile import Tile
from tests.cli.conftest import Result


@pytest.mark.parametrize("name", sorted(members("inference")))
def test_every_preset_is_complete(name: str) -> None:
    values = compose([f"inference={name}", "inference.repeats=3"]).values["inference"]
    spec = InferenceSpec.from_config(values)
    assert spec.repeats == 3
    assert set(values["noise"]) == set(spec.noise)
    assert all(time >= 0 for time in spec.seconds())
    assert values["about"] and values["source"]


@pytest.mark.parametrize("name", sorted(members("inference")))
def test_every_preset_programs_a_tile(name: str) -> None:
    spec = InferenceSpec.from_config(compose([f"inference={name}"]).values["inference"])
    tile = Tile(3, 4, TileSpec(device=DeviceSpec("ideal"), forward=IO(is_perfect=True)))
    tile.array.set_weights(torch.linspace(-0.5, 1.0, 12).view(3, 4))
    target = tile.weight.detach().clone()
    programmed = program([tile], spec, seed=1)
    assert float((tile.weight.detach() - target).abs().max()) < 0.5
    for time in [0.0, *spec.seconds(), 1e12]:
        programmed.drift_to(time)
        assert bool(torch.isfinite(tile.weight).all())
    programmed.restore()
    assert torch.equal(tile.weight.detach(), target)


@pytest.mark.parametrize("model", noise_model_names())
def test_weights_that_are_all_equal(model: str) -> None:
    for value in (0.0, 0.3, -1e-12):
        tile = Tile(2, 3, TileSpec(device=DeviceSpec("ideal")))
        tile.array.set_weights(torch.full((2, 3), value))
        programmed = program([tile], InferenceSpec(model))
        programmed.drift_to("1d")
        assert bool(torch.isfinite(tile.weight).all())
        assert programmed.factors[0] is not None and bool(
            torch.isfinite(programmed.factors[0])
        )


def test_presets_of_all_noise_models() -> None:
    found = {
        compose([f"inference={name}"]).values["inference"]["noise_model"]
        for name in members("inference")
    }
    assert found == set(noise_model_names())


def test_another_noise_model_brings_its_converter() -> None:
    values = compose(["inference.noise_model=reram_cmo"]).values["inference"]
    assert values["converter"]["kind"] == "single_device"
    assert values["converter"]["g_max"] == pytest.approx(88.2)
    assert "decay_mean" in values["noise"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("inference.times=[1s,2parsec]", "unknown unit 'parsec'.*command line"),
        ("inference.times=[-1h]", "must not be negative.*command line"),
        ("inference.times=[]", "must be a list"),
        (
            "inference.converter.g_max=0",
            r"converter.g_max must be > 0, not 0 \(command line\)",
        ),
        ("inference.converter.g_min=30", "g_max must be above g_min"),
        ("inference.noise_model=pmc", "nearest: pcm.*command line"),
        ("inference=pmc", "nearest: pcm"),
        ("inference.noise.t0=1", r"nearest: inference.noise.t_0 \(command line\)"),
        ("inference.repeats=0", "must be >= 1"),
        ("inference.compensation=golbal", "one of global"),
        ("inference.noise_model=mine.py:Mine", "--allow-code"),
        ("inference.converter.kind=n_pair", "significance must hold 1 to 8 numbers"),
    ],
)
def test_refused(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compose([change])
    assert "\n" not in str(caught.value)


def test_listed_and_explained(aihw: Callable[..., Result]) -> None:
    assert "phase-change" in aihw("ls", "inference").out
    shown = aihw("show", "inference/pcm").out
    assert "noise.nu_mean_slope" in shown
    assert "Joshi" in shown
    assert "formula: program:" in shown
    assert "inference.repeats" in aihw("show", "inference.repeats").out
