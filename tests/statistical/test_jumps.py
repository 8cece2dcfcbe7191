"""Many pulses in one jump leave the same weights as the same pulses one by one: mean, spread and
shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.tile.cells import CellArray
from engine.tile.settings import DeviceSpec

CASES = {
    "constant_step": (
        "constant_step.ConstantStep",
        {"dw_min": 0.002, "dw_min_std": 3.0},
    ),
    "soft_bounds": (
        "soft_bounds.SoftBounds",
        {"dw_min": 0.01, "dw_min_std": 1.0, "mult_noise": False},
    ),
    "soft_bounds_reference": (
        "soft_bounds_reference.SoftBoundsReference",
        {
            "dw_min": 0.01,
            "dw_min_std": 1.0,
            "subtract_symmetry_point": True,
            "w_max": 1.0,
            "w_min": -0.7,
        },
    ),
}
TRAIN = (13, -6, 20, -29, 5)
SAME = {f"{name}_dtod": 0.0 for name in ("dw_min", "up_down", "w_max", "w_min")}


def one_by_one(tmp_path: Path, name: str) -> str:
    """The device of that name, without its jumps, as a device of the user's own."""
    module, _, device = CASES[name][0].partition(".")
    text = "\n".join(
        (
            "from dataclasses import replace",
            f"from engine.devices.{module} import {device}",
            f'Steps = replace({device}, jump="", jump_if="false")',
            f"del {device}",
        )
    )
    path = tmp_path / "steps.py"
    path.write_text(text)
    return f"{path}:Steps"


def after(model: str, params: dict[str, float], start: float) -> torch.Tensor:
    array = CellArray(200, 250, DeviceSpec(model, params), seed=3)
    array.set_weights(torch.full((200, 250), start))
    for n in TRAIN:
        array.pulse(n)
    return array.persistent.clone().flatten().double()


@pytest.mark.parametrize("start", [0.0, 0.45])
@pytest.mark.parametrize("name", list(CASES))
def test_jumps_leave_the_weights_of_single_pulses(
    tmp_path: Path, name: str, start: float
) -> None:
    params = CASES[name][1] | SAME
    jumped = after(name, params, start)
    single = after(one_by_one(tmp_path, name), params, start)
    assert not torch.equal(jumped, single)
    error = single.std() / len(single) ** 0.5
    assert abs(jumped.mean() - single.mean()) < 5 * error
    assert float(jumped.std() / single.std()) == pytest.approx(1.0, abs=0.02)
    shares = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    distance = (
        (torch.quantile(jumped, shares) - torch.quantile(single, shares)).abs().max()
    )
    assert distance < 0.08 * single.std()


def test_cells_at_a_bound_take_their_pulses_one_by_one(tmp_path: Path) -> None:
    params = CASES["constant_step"][1] | SAME
    models = ("constant_step", one_by_one(tmp_path, "constant_step"))
    arrays = [CellArray(20, 30, DeviceSpec(model, params), seed=3) for model in models]
    for array in arrays:
        array.set_weights(torch.full((20, 30), 0.6))
        array.pulse(5)
    assert torch.equal(arrays[0].weight.data, arrays[1].weight.data)
