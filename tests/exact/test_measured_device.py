"""A device from a CSV of measured steps: reading, units, interpolation, messages, and that it takes
pulses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.devices import find_device
from engine.tile.cells import CellArray
from engine.tile.pulses import probe
from engine.tile.settings import DeviceSpec

EVEN = """# measured on one cell
weight,step_up,step_down,step_up_std,step_down_std
-1.0,0.020,0.000,0.002,0.000
-0.5,0.015,0.004,0.002,0.001
0.0,0.010,0.008,0.001,0.001
0.5,0.005,0.012,0.001,0.002
1.0,0.000,0.016,0.000,0.002
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "steps.csv"
    path.write_text(EVEN)
    return path


def test_measured_points_are_met_and_joined_by_lines(table: Path) -> None:
    array = CellArray(1, 9, DeviceSpec(str(table)), seed=1)
    weights = torch.linspace(-1, 1, 9).reshape(1, 9)
    up = probe(array, weights, up=True) - weights
    down = probe(array, weights, up=False) - weights
    np.testing.assert_allclose(up.numpy()[0], np.linspace(0.020, 0.0, 9), atol=2e-7)
    np.testing.assert_allclose(
        down.numpy()[0],
        -np.interp(np.linspace(-1, 1, 9), [-1, 0, 1], [0, 0.008, 0.016]),
        atol=2e-7,
    )
    assert array.granularity == pytest.approx(0.010, rel=1e-5)


def test_spread_of_pulses_is_the_measured_one(table: Path) -> None:
    array = CellArray(100, 100, DeviceSpec(str(table)), seed=4)
    array.pulse(1)
    steps = array.weight.detach().flatten()
    assert float(steps.mean()) == pytest.approx(0.010, abs=5e-5)
    assert float(steps.std()) == pytest.approx(0.001, rel=0.03)


def test_parameters_may_be_changed_over_the_measured_ones(table: Path) -> None:
    plain, wide = (
        CellArray(50, 50, DeviceSpec(str(table), p), seed=1)
        for p in ({}, {"dw_min_dtod": 0.3})
    )
    assert float(plain.parameter("dwmin_up").std()) == 0.0
    assert float(wide.parameter("dwmin_up").std()) == pytest.approx(
        0.3 * 0.010, rel=0.05
    )


def test_conductances_are_centred_and_uneven_points_laid_on_a_grid(
    tmp_path: Path,
) -> None:
    path = tmp_path / "conductance.csv"
    path.write_text(
        "weight,step_up,step_down\n50,0.05,-1.0\n10,1.0,-0.2\n20,0.5,-0.4\n30,0.25,-0.6\n"
    )
    values = find_device(str(path)).validate({})
    assert (values["w_min"], values["w_max"], len(values["table_up"])) == (
        -1.0,
        1.0,
        64,
    )
    assert values["dw_min"] == pytest.approx(0.6 / 20)
    up, down = (
        np.array(values["table_up"]) * values["dw_min"],
        np.array(values["table_down"]) * values["dw_min"],
    )
    grid = np.linspace(10, 50, 64)
    np.testing.assert_allclose(
        up, np.interp(grid, [10, 20, 30, 50], [1.0, 0.5, 0.25, 0.05]) / 20, rtol=1e-12
    )
    np.testing.assert_allclose(
        down, np.interp(grid, [10, 20, 30, 50], [0.2, 0.4, 0.6, 1.0]) / 20, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "weigth,step_up,step_down\n0,1,1\n1,1,1\n",
            r"no column 'weight' \(is it 'weigth'\?\)",
        ),
        (
            "weight,step_up,step_down,noise\n0,1,1,1\n1,1,1,1\n",
            "column 'noise' is unknown",
        ),
        (
            "weight,step_up,step_down\n0,1,1\n# half\n1,much,1\n",
            r"steps\.csv:4: expected 3 numbers",
        ),
        ("weight,step_up,step_down\n0,1,1\n1,1\n", r"steps\.csv:3: expected 3 numbers"),
        (
            "weight,step_up,step_down\n0,1,1\n1,inf,1\n",
            r"steps\.csv:3: every number must be finite",
        ),
        (
            "weight,step_up,step_down\n0,1,1\n0,1,1\n",
            "at least two rows, each with a weight of its own",
        ),
        (
            "weight,step_up,step_down\n-1,0,0\n1,0,0\n",
            "neither an up nor a down step is positive",
        ),
        ("", "no column 'weight'"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "steps.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        find_device(str(path))
    assert "\n" not in str(error.value)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*none\.csv: No such file"):
        find_device(str(tmp_path / "none.csv"))
