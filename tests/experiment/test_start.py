"""Training that starts from the weights of another run, or of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.experiment import identity
from engine.experiment.loop import Loop
from engine.experiment.runs import run_folder, stored_config
from engine.experiment.tasks._trained import trained
from engine.nn import AnalogLayer, convert_to_digital
from engine.settings import UserError
from tests.experiment.helpers import Recorder, analog_config, run, small_config

IDEAL = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}, "layers": {}}


def test_weights_cross_from_digital_to_tiles_and_back(tmp_path: Path) -> None:
    first = run(small_config(tmp_path))
    mapping = {"weight_scaling_omega": 1.0, "weight_scaling_columnwise": True}
    config = {
        **small_config(tmp_path, run={"start": str(first)}),
        **IDEAL,
        "tile": {"mapping": mapping},
        "name": "hwa",
    }
    own = Loop(config)
    assert any(isinstance(m, AnalogLayer) for m in own.model.modules())
    trained_model, _ = trained(
        small_config(tmp_path), first, own.data.info, torch.device("cpu")
    )
    for key, value in convert_to_digital(own.model).state_dict().items():
        torch.testing.assert_close(value, trained_model.state_dict()[key])
    second = run(config)
    back = Loop(small_config(tmp_path, run={"start": str(second)}))
    assert not any(isinstance(m, AnalogLayer) for m in back.model.modules())
    assert back.evaluate()[1] > 0.3


def test_pulsed_cells_start_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.Sigmoid(), nn.Linear(16, 10)
    )
    torch.save(net.state_dict(), tmp_path / "net.pt")
    cells = {
        "model": "constant_step",
        "w_max": 1.0,
        "w_min": -1.0,
        "w_max_dtod": 0.0,
        "w_min_dtod": 0.0,
    }
    config = analog_config(
        tmp_path, run={"start": str(tmp_path / "net.pt")}, device=cells
    )
    config["device"] = cells
    found = convert_to_digital(Loop(config).model).state_dict()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(found[key], value)


def test_the_weights_decide_the_name_of_the_run_wherever_they_lie(
    tmp_path: Path,
) -> None:
    plain = small_config(tmp_path)
    first = run(plain)
    moved = tmp_path / "elsewhere"
    config = small_config(tmp_path, run={"start": str(first)})
    named = run_folder(config).name
    assert named != run_folder(plain).name
    first.rename(moved)
    assert run_folder(small_config(tmp_path, run={"start": str(moved)})).name == named
    other = run(small_config(tmp_path, optimizer={"lr": 0.02}))
    assert run_folder(small_config(tmp_path, run={"start": str(other)})).name != named
    assert identity.run_hash(
        small_config(tmp_path, run={"start": ""})
    ) == identity.run_hash(plain)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    first = run(small_config(tmp_path))
    config = small_config(tmp_path, run={"start": str(first)}, model={"hidden": [17]})
    with pytest.raises(
        UserError,
        match=r"does not fit the model; of another shape: 1\.weight 16x64 instead of 17x64",
    ):
        Loop(config)
    with pytest.raises(
        UserError, match="nowhere is no run folder: there is no such folder"
    ):
        run(
            small_config(tmp_path, run={"start": str(tmp_path / "nowhere")}), Recorder()
        )
    assert Path(
        stored_config(small_config(tmp_path, run={"start": "a/b"}))["run"]["start"]
    ).is_absolute()
