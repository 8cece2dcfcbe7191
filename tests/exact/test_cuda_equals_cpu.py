"""Cells and tiles give the same bits on a GPU as on a CPU: construction, updates, time, products in
a fixed order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.config.hwa import MODIFIERS
from engine.devices.base import device_names, find_device
from engine.nn import AnalogTile, set_exact
from engine.tile.cells import CellArray
from engine.tile.settings import IO, DeviceSpec, TileSpec, Update
from engine.tile.tile import Tile

pytestmark = pytest.mark.gpu

OUT, IN, BATCH = 33, 70, 5
EVERYTHING = {
    "lifetime": 100.0, "diffusion": 0.01, "reset": 0.01, "drift_nu": 0.1, "write_noise_std": 0.1,
    "corrupt_devices_prob": 0.1,
}  # fmt: skip
UPDATES = {
    "default": Update(),
    "implicit": Update(pulse_type="DeterministicImplicit"),
    "counted": Update(pulse_type="MeanCount"),
    "exact": Update(pulse_type="NoneWithDevice"),
    "long": Update(desired_bl=100, fixed_bl=False, update_bl_management=False),
    "unmanaged": Update(update_management=False, update_bl_management=False),
}

PERIPHERIES = {
    "default": IO(),
    "perfect": IO(is_perfect=True),
    "noisy": IO(inp_noise=0.1, out_noise=0.2, inp_sto_round=True, out_sto_round=True),
    "clipped": IO(out_bound=0.5, inp_asymmetry=0.1, out_asymmetry=0.2),
    "unmanaged": IO(noise_management="None", bound_management="None"),
    "continuous": IO(inp_res=0.0, out_res=0.0, out_scale=0.7),
    "average": IO(noise_management="AverageAbsMax"),
}


def array(model: str, where: str, lanes: int) -> CellArray:
    """An array constructed on `where`; two with the same arguments must be equal."""
    device = find_device(model)
    wanted: dict[str, Any] = {
        name: value for name, value in EVERYTHING.items() if name in device.params
    }
    with torch.device(where):
        return CellArray(
            OUT,
            IN,
            DeviceSpec(model, device.validate(wanted)),
            seed=7,
            tile_id=11,
            lanes=lanes,
        )


def assert_same(cpu: CellArray, gpu: CellArray, after: str) -> None:
    """Equal weights and cells, to the bit (NaN included)."""
    for name in ("weight", "cells", "control"):
        ours, theirs = getattr(cpu, name).detach(), getattr(gpu, name).detach().cpu()
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32)), (
            f"{name} after {after}"
        )


def numbers(*shape: int, lanes: int, seed: int) -> torch.Tensor:
    """Fixed normal numbers, with a leading axis where there are lanes."""
    made = torch.randn(lanes, *shape, generator=torch.Generator().manual_seed(seed))
    return made if lanes > 1 else made[0]


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("model", device_names())
def test_time_changes_both_alike(model: str, lanes: int) -> None:
    pair = array(model, "cpu", lanes), array(model, "cuda", lanes)
    assert_same(*pair, "construction")
    steps = (
        ("set_weights", (0.3 * numbers(OUT, IN, lanes=lanes, seed=1),)),
        ("pulse", (5,)),
        ("pulse", (-40,)),
        ("decay", (0.5,)),
        ("diffuse", ()),
        ("reset", (60, 20, 0.5)),
        ("drift", (3.0,)),
        ("drift", (5.0,)),
        ("clip", (0.2,)),
        ("end_of_batch", ()),
    )
    for name, arguments in steps:
        for one in pair:
            getattr(one, name)(*arguments)
        assert_same(*pair, name)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(
    "model", [name for name in device_names() if not find_device(name).ideal]
)
def test_updates_change_both_alike(model: str, update: str) -> None:
    pair = array(model, "cpu", 2), array(model, "cuda", 2)
    for seed in range(3):
        x, d = (
            numbers(BATCH, IN, lanes=2, seed=seed),
            0.1 * numbers(BATCH, OUT, lanes=2, seed=seed + 9),
        )
        for one in pair:
            one.update(x, d, 0.05, UPDATES[update])
        assert_same(*pair, f"update {seed}")


@pytest.mark.parametrize("batch", [1, 2, 40, 300, 2100])
@pytest.mark.parametrize("model", ["constant_step", "soft_bounds", "exp_step"])
def test_any_number_of_samples_is_alike(model: str, batch: int) -> None:
    """A GPU gives a warp to 32 of these cells, a thread to each that has pulses, or a thread to
    each with its coincidences."""
    ours, theirs = (array(model, where, 2) for where in ("cpu", "cuda"))
    for seed in range(3):
        x, d = (
            numbers(batch, IN, lanes=2, seed=seed),
            0.1 * numbers(batch, OUT, lanes=2, seed=seed + 9),
        )
        for one in (ours, theirs):
            one.update(x.to(one.weight.device), d.to(one.weight.device), 0.05, Update())
    assert_same(ours, theirs, "updates")


def test_an_array_moves_and_goes_on() -> None:
    stays, moves = array("constant_step", "cpu", 1), array("constant_step", "cpu", 1)
    for where in ("cpu", "cuda", "cpu"):
        moves.to(where)
        for one in (stays, moves):
            one.update(
                numbers(BATCH, IN, lanes=1, seed=3),
                numbers(BATCH, OUT, lanes=1, seed=4),
                0.05,
                Update(),
            )
    assert_same(stays, moves, "moving")


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("io", PERIPHERIES)
def test_products_in_a_fixed_order_are_alike(io: str, lanes: int) -> None:
    spec = TileSpec(forward=PERIPHERIES[io], backward=PERIPHERIES[io])
    tiles = []
    for where in ("cpu", "cuda"):
        with torch.device(where):
            tiles.append(Tile(OUT, IN, spec, seed=5, tile_id=6, lanes=lanes))
        tiles[-1].set_exact(True)
        tiles[-1].array.set_weights(0.3 * numbers(OUT, IN, lanes=lanes, seed=1))
    for turn in range(4):
        for tile in tiles:
            tile.train(turn < 2)
        x, d = (
            numbers(BATCH, IN, lanes=lanes, seed=turn),
            1e-3 * numbers(BATCH, OUT, lanes=lanes, seed=turn + 9),
        )
        for name, v in (("mvm", x), ("mvm_t", d)):
            ours, theirs = (
                getattr(tile, name)(v.to(tile.weight.device)).cpu() for tile in tiles
            )
            assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32)), (
                f"{name}, turn {turn}"
            )


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", MODIFIERS)
def test_hardware_aware_training_is_alike(kind: str, own: bool) -> None:
    modifier = {
        "type": kind,
        "std_dev": 0.1,
        "res": 0.1,
        "pdrop": 0.1,
        "pcm_t_inference": 10.0,
    }
    tile = {
        "modifier": modifier | {"per_batch_sample": own, "per_channel": own},
        "clip": {"type": "LayerGaussianPerChannel" if own else "LayerGaussian", "sigma": 1.5},
        "remap": {"type": "ChannelwiseSymmetric"},
        "input_range": {"enable": True, "init_from_data": 2, "decay": 0.01},
        "mapping": {"learn_out_scaling": True}, "forward": {"bound_management": "None", "noise_management": "None"},
    }  # fmt: skip
    spec, found = (
        TileSpec.from_config(
            {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}, "tile": tile}
        ),
        [],
    )
    for where in ("cpu", "cuda"):
        made = AnalogTile(OUT, IN, spec, seed=5, tile_id=6)
        made.set_weights(0.3 * numbers(OUT, IN, lanes=1, seed=1))
        set_exact(made.to(where))
        for turn in range(3):
            x = numbers(BATCH, IN, lanes=1, seed=turn).to(where).requires_grad_()
            made(x).backward(numbers(BATCH, OUT, lanes=1, seed=turn + 9).to(where))
            with torch.no_grad():
                for p in made.parameters():
                    p.sub_(0.01 * p.grad)
                    p.grad = None
            made.settle()
            found.append(
                [
                    v.detach().cpu().clone()
                    for v in (x.grad, *made.parameters(), made.scale)
                ]
            )
    for one, other in zip(found[:3], found[3:], strict=True):
        assert all(
            torch.equal(a.view(torch.int32), b.view(torch.int32))
            for a, b in zip(one, other, strict=True)
        )
