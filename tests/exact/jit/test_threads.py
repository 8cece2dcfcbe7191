"""Threads of a run: kernels take those that were asked for; torch takes as many only for large
layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.experiment.build import build
from engine.experiment.data import Info
from engine.experiment.processor import give_torch_threads, processor
from engine.jit import team
from engine.jit.unit import ENGINE
from engine.presets import overlay, preset_values

IMAGE = (1, 28, 28)


def torch_threads(
    model: str, preset: str | None, batch: int, run: dict[str, Any]
) -> int:
    """The threads that torch has after a network was made for a run."""
    torch.set_num_threads(4)
    config: dict[str, Any] = {
        "device": {},
        "algorithm": {"name": "digital"},
        "tile": {},
    }
    if preset:
        config = overlay(preset_values(preset), {})
    config |= {
        "model": {"name": model},
        "loss": {"name": "nll"},
        "run": {"seed": 0} | run,
    }
    config["optimizer"] = {"name": "analog_sgd", "lr": 0.01}
    device = processor({"device": "cpu"} | run)
    network, _ = build(config, Info(IMAGE, 10), device)
    give_torch_threads(network, Info(IMAGE, 10), batch)
    return torch.get_num_threads()


@pytest.mark.parametrize(
    ("model", "preset", "batch", "run", "kernels", "expected"),
    [
        ("fcn", "gokmen_vlasov", 10, {}, 4, 1),
        ("fcn", "gokmen_vlasov", 64, {"threads": 3}, 3, 1),
        ("fcn", None, 10, {"threads": 2}, 2, 1),
        ("fcn", None, 64, {"threads": 2}, 2, 2),
        ("lenet", None, 8, {}, 4, 4),
        ("lenet", "gokmen_vlasov", 8, {"threads": 2}, 2, 2),
        ("lenet", "gokmen_vlasov", 64, {"threads": 1}, 1, 1),
        ("lenet", "gokmen_vlasov", 64, {"exact": True}, 4, 1),
    ],
)
def test_torch_has_threads_for_large_layers_alone(
    model: str,
    preset: str | None,
    batch: int,
    run: dict[str, Any],
    kernels: int,
    expected: int,
) -> None:
    assert torch_threads(model, preset, batch, run) == expected
    assert team.threads() == kernels


def test_kernels_follow_torch_outside_of_runs() -> None:
    torch.set_num_threads(3)
    assert team.threads() == 3
    team.use_threads(2)
    assert team.threads() == 2


def test_the_next_run_of_a_process_has_all_threads_again() -> None:
    assert torch_threads("fcn", "gokmen_vlasov", 10, {}) == 1
    processor({"device": "cpu"})
    assert torch.get_num_threads() == team.threads() == 4


def test_only_one_place_asks_torch_for_threads_of_kernels() -> None:
    asking = {
        path.relative_to(ENGINE).as_posix()
        for path in ENGINE.rglob("*.py")
        if "get_num_threads" in path.read_text()
    }
    assert asking == {"jit/team.py", "experiment/processor.py"}
