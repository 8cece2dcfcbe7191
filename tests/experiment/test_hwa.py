"""Runs that train by gradients through analog products: any optimizer, resumed with the same bits,
and they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aihw_cli.compose import compose
from engine.experiment.runs import run_folder
from engine.experiment.train import resume, train
from tests.experiment.helpers import (
    STEPS,
    Recorder,
    Stopper,
    interrupt,
    outcome,
    run,
    small_config,
)

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "lr": 0.01, "betas": [0.8, 0.99]},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "analog_sgd": {"name": "analog_sgd", "lr": 0.01, "momentum": 0.5},
}
TILE: dict[str, Any] = {
    "modifier": {"type": "AddNormal", "std_dev": 0.1},
    "clip": {"type": "LayerGaussian"},
    "remap": {"type": "ChannelwiseSymmetric"},
    "mapping": {"weight_scaling_omega": 1.0, "learn_out_scaling": True},
    "input_range": {"enable": True, "init_from_data": 5},
}


def hwa_config(
    folder: Path, optimizer: str, **changes: dict[str, Any]
) -> dict[str, Any]:
    base = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}, "tile": TILE}
    made = small_config(folder, **base, **changes)
    return made | {
        "optimizer": OPTIMIZERS[optimizer] | {"schedule": {"name": "cosine"}}
    }


@pytest.mark.usefixtures("every_step_is_reported")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [(1, 3), (2, STEPS)])
def test_interrupted_run_resumes_to_the_same_bits(
    tmp_path: Path, optimizer: str, at: tuple[int, int]
) -> None:
    reference = outcome(run(hwa_config(tmp_path / "reference", optimizer)))
    config = hwa_config(tmp_path / "stopped", optimizer, run={"checkpoint_every": 1})
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper(at, interrupt))
    torch.rand(5)
    assert resume(folder, Recorder())["status"] == "finished"
    assert outcome(folder) == reference


@pytest.mark.parametrize("preset", ["hwa_add_normal", "standard_hwa"])
def test_presets_learn_digits(tmp_path: Path, preset: str) -> None:
    changes = [
        f"preset={preset}",
        "optimizer=adam",
        "optimizer.lr=0.01",
        "run.epochs=5",
        f"run.dir={tmp_path}",
    ]
    config = compose(changes).values
    summary = train(config, run_folder(config), Recorder())
    assert summary["test_accuracy"] > 0.93


def test_adam_trains_what_is_digital_beside_pulses(tmp_path: Path) -> None:
    config = small_config(tmp_path) | {
        "algorithm": {"name": "sgd"},
        "optimizer": OPTIMIZERS["adam"],
    }
    assert train(config, run_folder(config), Recorder())["status"] == "finished"
