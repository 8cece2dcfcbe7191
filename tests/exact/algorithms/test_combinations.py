"""Every algorithm with every device preset: steps within bounds, the same at any thread count and
after a restart.

What does not go together is refused in one line that says what would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from engine.algorithms import algorithm_names
from engine.nn import AnalogLinear, set_exact
from engine.nn.analog import analog_tiles
from engine.optim import AnalogSGD
from engine.presets import members, preset
from engine.tile.cells import CellArray
from engine.tile.settings import AlgorithmSpec, TileSpec
from tests.exact.algorithms.test_presets import in_bounds

ROWS, COLUMNS = 12, 13


def steps(model: AnalogLinear, numbers: range, threads: int) -> None:
    torch.set_num_threads(threads)
    optimizer = (
        torch.optim.SGD(model.parameters(), 0.05)
        if digital(model)
        else AnalogSGD(model.parameters(), lr=0.05)
    )
    for number in numbers:
        draw = torch.Generator().manual_seed(number)
        optimizer.zero_grad()
        model(torch.randn(3, COLUMNS, generator=draw)).square().sum().backward()
        optimizer.step()


def digital(model: AnalogLinear) -> bool:
    return next(analog_tiles(model)).tile.spec.algorithm.name == "hwa"


TRANSFERS = (
    "tiki_taka",
    "ttv2",
    "chopped_ttv2",
    "agad",
    "residual",
    "residual_v2",
    "multi_tile_residual",
)
GROUPS = (
    "reram_sb2",
    "idealized4",
    "pcm_pair",
)  # devices that take turns at random, and a one-sided pair


def made(spec: TileSpec) -> AnalogLinear:
    model = AnalogLinear(COLUMNS, ROWS, tile=spec, seed=5)
    set_exact(model)
    return model


def pairs(algorithm: str) -> Iterator[tuple[str, TileSpec]]:
    """Device presets that the algorithm takes; the others it refuses in a line."""
    for device in members("device"):
        spec = preset(device, algorithm=algorithm)
        try:
            made(spec)
        except ValueError as error:
            text = str(error)
            assert "\n" not in text and (" needs " in text or " must " in text), text
            continue
        yield device, spec


def stays(model: AnalogLinear) -> bool:
    """Whether all arrays lie within the bounds of their cells; one that shows a sum keeps its own
    weights beside it."""
    for tile in analog_tiles(model):
        if getattr(tile.state, "last", None) is not None:
            tile.tile.array.weight.data.copy_(tile.state.last)
    return all(
        in_bounds(array) for array in model.modules() if isinstance(array, CellArray)
    )


def check(spec: TileSpec, device: str) -> None:
    """Five steps, the last two of them by a second model that goes on from a checkpoint with more
    threads."""
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    try:
        model, again = made(spec), made(spec)
        steps(model, range(3), 1)
        again.load_state_dict(model.state_dict())
        steps(model, range(3, 5), 1)
        steps(again, range(3, 5), 3)
    finally:
        torch.set_num_threads(threads)
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours), device
    assert torch.isfinite(next(analog_tiles(model)).get_weights()).all() and stays(
        model
    ), device


@pytest.mark.parametrize(
    "algorithm", [name for name in algorithm_names() if name != "digital"]
)  # that has no tile
def test_algorithm_with_every_device(algorithm: str) -> None:
    taken = []
    for device, spec in pairs(algorithm):
        check(spec, device)
        taken.append(device)
    assert taken, "no device fits"
    assert algorithm not in TRANSFERS or taken == list(members("device")), (
        "a device does not fit"
    )


@pytest.mark.parametrize("algorithm", TRANSFERS)
def test_cells_of_several_devices_beside_single_ones(algorithm: str) -> None:
    for group in GROUPS:
        several, single = (
            preset(group, algorithm=algorithm).device,
            preset("ecram", algorithm=algorithm),
        )
        for device, fast in ((several, single.device), (single.device, several)):
            arrays = AlgorithmSpec(algorithm, single.algorithm.params, {"fast": fast})
            check(replace(single, device=device, algorithm=arrays), group)
