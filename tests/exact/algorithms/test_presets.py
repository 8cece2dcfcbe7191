"""Every preset makes a layer that takes steps within its bounds, whatever the threads, and goes on
from its state."""

from __future__ import annotations

import pytest
import torch

from engine.nn import AnalogLinear, set_exact
from engine.nn.analog import analog_tiles
from engine.optim import AnalogSGD
from engine.presets import members, preset
from engine.tile.cells import CellArray

ROWS, COLUMNS = 64, 65  # room for the largest rank


def layer(name: str) -> tuple[AnalogLinear, AnalogSGD]:
    made = AnalogLinear(COLUMNS, ROWS, tile=preset(name), seed=5)
    set_exact(made)
    return made, AnalogSGD(made.parameters(), lr=0.05)


def steps(
    model: AnalogLinear, optimizer: AnalogSGD, numbers: range, threads: int
) -> None:
    torch.set_num_threads(threads)
    for number in numbers:
        draw = torch.Generator().manual_seed(number)
        optimizer.zero_grad()
        model(torch.randn(3, COLUMNS, generator=draw)).square().sum().backward()
        optimizer.step()


def in_bounds(array: CellArray) -> bool:
    """Hidden weights lie where the bounds of their cells, and the reference of those that have one,
    allow."""
    cells = array.layout.cells
    if "max_bound" not in cells:
        return True
    shift = array.parameter("reference").abs() if "reference" in cells else 0.0
    w = array.persistent.detach()
    high, low = (
        array.parameter("max_bound") + shift + 1e-6,
        array.parameter("min_bound") - shift - 1e-6,
    )
    return bool(((w <= high) & (w >= low)).all())


@pytest.mark.parametrize("name", members("preset"))
def test_preset(name: str) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    try:
        model, optimizer = layer(name)
        again, other = layer(name)
        start = {key: value.clone() for key, value in model.state_dict().items()}
        steps(model, optimizer, range(3), 1)
        again.load_state_dict(model.state_dict())
        steps(model, optimizer, range(3, 5), 1)
        steps(again, other, range(3, 5), 3)
    finally:
        torch.set_num_threads(threads)
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert all(
        in_bounds(array) for array in model.modules() if isinstance(array, CellArray)
    )
    assert torch.isfinite(next(analog_tiles(model)).get_weights()).all()
    # Some need a sweep before the visible array moves; then a hidden one or a digital matrix has.
    learnt = [key for key in ours if key.endswith(("weight", "chi"))]
    assert any(not torch.equal(ours[key], start[key]) for key in learnt)
