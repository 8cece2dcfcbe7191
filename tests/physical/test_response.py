"""Response curves: cells and pulses as an array has them, and the symmetry points and steps that
formulas promise."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from engine.devices import device_names, find_device
from engine.settings import ROOT
from engine.tile.cells import CellArray
from engine.tile.response import MOMENTS, Response, measure
from engine.tile.settings import DeviceSpec

QUIET = {
    "dw_min_dtod": 0.0,
    "dw_min_std": 0.0,
    "up_down_dtod": 0.0,
    "w_max_dtod": 0.0,
    "w_min_dtod": 0.0,
}
PULSED = [name for name in device_names() if not find_device(name).ideal]


def spec(model: str, **params: Any) -> DeviceSpec:
    device = find_device(model)
    follows = (
        device.derive({k: p.default for k, p in device.params.items()})
        if device.derive
        else {}
    )
    return DeviceSpec(
        model,
        {k: v for k, v in params.items() if k in device.params and k not in follows},
    )


def response(device: DeviceSpec) -> Response:
    found = measure(device)
    assert found is not None
    return found


@pytest.mark.parametrize("model", PULSED)
def test_cells_are_those_of_an_array_and_answer_alike(model: str) -> None:
    device = spec(model, dw_min_std=0.0, dw_min=0.01, write_noise_std=0.0)
    found = response(device)
    array = CellArray(1, found.weights.shape[1], device, trains=False)
    assert torch.equal(
        array.parameter("min_bound")[0], torch.from_numpy(found.weights[0])
    )
    array.set_weights(array.parameter("min_bound"))
    for moment, sign in ((1, 1), (2, 1)):
        array.pulse(sign * found.each)
        assert torch.equal(
            array.weight.data[0], torch.from_numpy(found.weights[moment])
        ), moment
    array.pulse((MOMENTS - 2) * found.each)
    array.pulse(-found.each)
    assert torch.equal(
        array.weight.data[0], torch.from_numpy(found.weights[MOMENTS + 1])
    )


def test_steps_of_soft_bounds_fall_to_zero_at_the_bounds() -> None:
    found = response(spec("soft_bounds", **QUIET, dw_min=0.01, w_max=0.5, w_min=-1.0))
    np.testing.assert_allclose(
        found.up, 0.01 * (1 - found.grid / 0.5)[:, None] * np.ones(400), atol=1e-7
    )
    np.testing.assert_allclose(
        found.down, -0.01 * (1 + found.grid)[:, None] * np.ones(400), atol=1e-7
    )
    np.testing.assert_allclose(found.symmetry, 0.0, atol=1e-6)


def test_the_symmetry_point_moves_with_the_asymmetry_of_the_steps() -> None:
    # Up steps 0.8 D (1 - w / b), down steps D (1 + w / b): equal at w = -b / 9.
    found = response(
        spec("soft_bounds", **QUIET, dw_min=0.001, w_max=0.9, w_min=-0.9, up_down=-0.2)
    )
    np.testing.assert_allclose(found.symmetry, -0.1, atol=1e-5)


def test_a_device_of_constant_steps_has_no_symmetry_point() -> None:
    assert np.isnan(
        response(spec("constant_step", **QUIET, up_down=0.1)).symmetry
    ).all()


def test_spread_between_cells_is_that_of_the_device() -> None:
    found = response(spec("constant_step", **{**QUIET, "dw_min_dtod": 0.2}))
    middle = found.up[len(found.grid) // 2]
    assert abs(middle.std() / middle.mean() - 0.2) < 0.02
    assert response(spec("constant_step", **QUIET)).weights.std(1).max() < 1e-6


def test_nothing_to_pulse_gives_no_response() -> None:
    assert measure(spec("ideal")) is None


def test_a_curve_does_not_need_torch() -> None:
    code = (
        "import sys; from engine.tile.response import measure; from engine.tile.settings import DeviceSpec; "
        "measure(DeviceSpec('soft_bounds', {})); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
