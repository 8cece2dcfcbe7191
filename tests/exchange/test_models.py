"""Trained models of aihwkit on this engine: logical weights, and outputs without noise.

The files were written by `make_data.py` beside aihwkit 1.2.0."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from engine.exchange import aihwkit
from engine.exchange.aihwkit import state
from engine.exchange.aihwkit.file import read_source
from engine.exchange.aihwkit.lost import Losses
from engine.exchange.aihwkit.names import grid_name, match
from engine.exchange.aihwkit.network import logical_state
from engine.exchange.aihwkit.restore import batch_of, collect, values_of
from engine.exchange.aihwkit.settings import Translation
from engine.nn import convert_to_analog, convert_to_digital
from engine.nn.analog import AnalogTile, analog_tiles
from engine.presets import preset
from engine.settings import UserError
from engine.tile.settings import TileSpec

DATA = Path(__file__).parent / "data"
# A model whose cells have no place here: one matrix for what lies in two.
WEIGHTS_ALONE = "combined"
NAMES = sorted(
    path.stem for path in DATA.glob("*.safetensors") if path.stem != WEIGHTS_ALONE
)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, num_layers=2, bidirectional=True)
        self.decoder = nn.Linear(10, 3)

    def forward(self, x):
        return self.decoder(self.lstm(x)[0])


def digital(name: str) -> nn.Module:
    """The network of a file in floating point."""
    if name in ("lstm", WEIGHTS_ALONE):
        return Recurrent()
    if name == "convolution":
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.Tanh(),
            nn.Conv2d(3, 4, (3, 2), stride=2, bias=False),
            nn.Flatten(),
            nn.Linear(36, 3),
        )
    if name.startswith("digits"):
        return nn.Sequential(
            nn.Linear(64, 8), nn.Sigmoid(), nn.Linear(8, 10), nn.LogSoftmax(1)
        )
    return nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3))


@functools.cache
def on_tiles(name: str) -> tuple[nn.Module, dict[str, torch.Tensor], Losses]:
    """The network with aihwkit's tiles, what aihwkit computed, and what was not carried."""
    path = DATA / f"{name}.safetensors"
    source = read_source(path)
    translation = Translation()
    specs = {
        grid_name(grid).layer: TileSpec.from_config(translation.config(tiles[0].config))
        for grid, tiles in source.tiles.items()
    }
    network = digital(name)
    network.eval()
    model = convert_to_analog(network, lambda layer, _: specs[layer])
    losses = aihwkit.load(model, path)
    model.eval()
    checks = {
        k.removeprefix("check."): v for k, v in load_file(path).items() if "check." in k
    }
    translation.losses.found += losses.found
    return model, checks, translation.losses


@pytest.mark.parametrize("name", NAMES)
def test_logical_weights_and_outputs(name: str) -> None:
    model, recorded, losses = on_tiles(name)
    checks = dict(recorded)
    with torch.no_grad():
        y = model(checks.pop("x"))
    torch.testing.assert_close(y, checks.pop("y"), atol=1e-5, rtol=0)
    own = convert_to_digital(model).state_dict()
    for key, value in checks.items():
        torch.testing.assert_close(
            own[key], value, atol=1e-5, rtol=0, check_dtype=False
        )
    assert not losses.that_matter, [str(lost) for lost in losses.found]


@pytest.mark.parametrize("name", NAMES)
def test_logical_weights_by_torchs_names(name: str) -> None:
    source, losses = read_source(DATA / f"{name}.safetensors"), Losses()
    found = {
        k: v
        for k, v in logical_state(source, losses).items()
        if not k.startswith("check.")
    }
    network = digital(name)
    network.load_state_dict(found)
    own = convert_to_digital(on_tiles(name)[0]).state_dict()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, own[key], atol=1e-6, rtol=0)
    assert not losses.found


def test_weights_of_inputs_and_state_in_one_matrix_are_carried() -> None:
    path = DATA / f"{WEIGHTS_ALONE}.safetensors"
    losses, network = Losses(), digital(WEIGHTS_ALONE)
    network.load_state_dict(logical_state(read_source(path), losses))
    recorded = load_file(path)
    with torch.no_grad():
        y = network(recorded["check.x"])
    torch.testing.assert_close(y, recorded["check.y"], atol=1e-5, rtol=0)
    assert len(losses.that_matter) == 4
    assert "its cells" in str(losses.found[0])
    model = convert_to_analog(network, preset("gokmen_vlasov"))
    with pytest.raises(UserError, match="one matrix for inputs and state"):
        aihwkit.load(model, path)


def test_names_decide_before_order_does() -> None:
    ours = {"net.a": (2, 3), "net.b": (2, 3)}
    assert match(ours, {"b": (2, 3), "a": (2, 3)}, "layer") == {
        "net.a": "a",
        "net.b": "b",
    }
    assert match({"a": (2,)}, {"net.a": (2,)}, "layer") == {"a": "net.a"}
    assert match(ours, {"x": (2, 3), "y": (2, 3)}, "layer") == {
        "net.a": "x",
        "net.b": "y",
    }
    assert match({}, {}, "layer") == {}
    for theirs in (
        {"a": (2, 3)},
        {"a": (2, 3), "b": (2, 4)},
        {"a": (2, 3), "other.b": (3, 2)},
    ):
        with pytest.raises(UserError):
            match(ours, theirs, "layer")


@pytest.mark.parametrize("name", NAMES)
def test_the_state_comes_back_as_it_was(name: str) -> None:
    """What is read from our tiles by aihwkit's names is what was written to them."""
    model = on_tiles(name)[0]
    source = read_source(DATA / f"{name}.safetensors")
    tiles = [tile for grid in source.tiles.values() for tile in grid]
    for own, theirs in zip(analog_tiles(model), tiles, strict=True):
        found, given = collect(own, batch_of(theirs)), values_of(theirs)
        for key, value in found.items():
            if key in given:
                torch.testing.assert_close(
                    value.double().flatten(),
                    given[key].double().flatten(),
                    atol=1e-6,
                    rtol=1e-6,
                )


def test_counters_and_choppers_are_carried() -> None:
    model = on_tiles("agad")[0]
    source = read_source(DATA / "agad.safetensors").tiles["0"][0]
    state = next(iter(analog_tiles(model))).state
    assert source.scalars["rpu_device.current_update_idx"] == 96  # 12 mini-batches of 8
    assert state.counters[0, :3].tolist() == [
        96,
        16,
        0,
    ]  # samples, sweeps of 6 columns, column
    assert state.in_chop.numel() == 6
    switched = source.tensors["extra.rpu_device.in_chopper"].to(torch.int32)
    torch.testing.assert_close(state.in_chop & 1, switched)
    assert float(state.buffer.abs().max()) > 0
    assert float(state.mean.abs().max()) > 0


def test_derived_slopes_are_those_of_the_device() -> None:
    spec = TileSpec.from_config(
        {"device": {"model": "soft_bounds_reference", "w_min_dtod": 0.5}}
    )
    tile = AnalogTile(40, 50, spec, seed=1, tile_id=1)
    own = tile.tile.array.cells.clone()
    state.settle(tile)
    assert torch.equal(own, tile.tile.array.cells)
