"""`aihw device fit`: from a file of readings to a preset that shows and draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aihw_cli.compose import compose
from tests.fit.synthetic import trace_of, write_long

PARAMS = {"dw_min": 0.03, "dw_min_std": 0.3, "w_min": -0.7, "w_max": 0.8}


@pytest.mark.slow
def test_a_fitted_preset_loads(aihw: Any, tmp_path: Path) -> None:
    trace = trace_of("soft_bounds", PARAMS, seed=1, trains=(60, 60))
    data = write_long(tmp_path / "pulses.csv", [trace], scale=20.0)
    preset, figure = tmp_path / "mine.yaml", tmp_path / "fit.png"
    done = aihw(
        *("device", "fit", str(data), "--model", "soft_bounds", "--range", "30,70"),
        *("--out", str(preset), "--figure", str(figure)),
    )
    assert done.code == 0
    assert "understood: long table, unit uS" in done.out
    assert "read_noise" in done.out
    assert figure.read_bytes().startswith(b"\x89PNG")
    text = preset.read_text()
    assert "weights -1 and 1 are 30 and 70 uS" in text
    assert "dw_min_dtod: 0.0  # not measured" in text
    drawn = aihw("device", "plot", str(preset))
    assert drawn.code == 0
    assert "response of 400 cells" in drawn.out
    values = compose([f"device={preset}", "device.dw_min_dtod=0.1"]).values["device"]
    assert values["model"] == "soft_bounds"
    assert values["dw_min_dtod"] == 0.1


def test_mistakes_are_one_line(aihw: Any, tmp_path: Path) -> None:
    data = tmp_path / "pulses.csv"
    data.write_text("LTP,LTD\n1,2\n1,x\n")
    for words, message in (
        ((str(data),), "pulses.csv:3: expected a number as down"),
        ((str(data), "--out", "mine.txt"), "must end in .yaml"),
        ((str(data), "--pulses", "many"), "how many pulses go each way"),
        ((), "needs"),
    ):
        done = aihw("device", "fit", *words)
        assert done.code != 0
        assert message in done.err


def test_a_device_in_a_file_names_its_step(aihw: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("about: no step\n")
    assert "model: NAME" in aihw("device", "plot", str(own)).err
    own.write_text("model: constant_step\ndefaults: [ecram]\n")
    assert "cannot name defaults" in aihw("device", "plot", str(own)).err
