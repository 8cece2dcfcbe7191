"""Training steps that a GPU replays as one graph: what can be replayed, and that replaying changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment.build import build
from engine.experiment.data import Info
from engine.experiment.runs import run_folder
from engine.experiment.train import resume
from engine.nn.analog import AnalogTile
from engine.optim.replay import obstacle
from tests.experiment.helpers import Recorder, analog_config, outcome, run, small_config

FAST = {"fast_lr": 0.5, "transfer_every": 2.0}
HWA: dict[str, Any] = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}}
SCALED: dict[str, Any] = {"mapping": {"weight_scaling_omega": 0.6}}
REPLAYED: dict[str, dict[str, Any]] = {
    "sgd": {},
    "scaled": {"tile": SCALED},
    "tiki_taka": {"algorithm": {"name": "tiki_taka", **FAST}},
    "ttv2": {"algorithm": {"name": "ttv2", **FAST}},
    "chopped_ttv2": {"algorithm": {"name": "chopped_ttv2", **FAST}},
    "agad": {"algorithm": {"name": "agad", **FAST}},
    "digital": {"algorithm": {"name": "digital"}},
}
HINDERED: dict[str, tuple[dict[str, Any], str]] = {
    "adam": (HWA | {"optimizer": {"name": "adam", "lr": 0.01, "momentum": 0.0}}, "Adam"),
    "hwa": (HWA, "hwa counts"),
    "mixed_precision": ({"algorithm": {"name": "mixed_precision"}}, "mixed_precision counts"),
    "lrtt": ({"algorithm": {"name": "lrtt", "rank": 4}}, "lrtt counts"),
    "cells": ({"device": {"model": "reference_pair", "cells": {"a": {"model": "constant_step"}}}}, "several devices"),
    "scales": ({"tile": {"mapping": SCALED["mapping"] | {"weight_scaling_lr_compensation": True}}}, "reads the scales"),
}  # fmt: skip


def obstacle_of(config: dict[str, Any]) -> str:
    return obstacle(*build(config, Info((1, 8, 8), 10), torch.device("cpu")))


@pytest.mark.parametrize("name", REPLAYED)
def test_what_can_be_replayed(name: str, tmp_path: Path) -> None:
    assert obstacle_of(analog_config(tmp_path, **REPLAYED[name])) == ""


@pytest.mark.parametrize("name", HINDERED)
def test_what_cannot_be_replayed_is_named(name: str, tmp_path: Path) -> None:
    changes, words = HINDERED[name]
    config = analog_config(tmp_path, **changes)
    if "device" in changes:
        config["device"] = changes["device"]
    assert words in obstacle_of(config)


def test_a_frozen_tile_would_repeat_its_noise(tmp_path: Path) -> None:
    model, optimizer = build(analog_config(tmp_path), Info((1, 8, 8), 10), torch.device("cpu"))
    next(part for part in model.modules() if isinstance(part, AnalogTile)).tile.weight.requires_grad_(False)
    assert "does not learn" in obstacle(model, optimizer)


@pytest.mark.gpu
@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_steps_are_launched_steps(name: str, tmp_path: Path) -> None:
    left = []
    for graph in (True, False):
        config = analog_config(tmp_path / str(graph), **REPLAYED[name], run={"device": "cuda", "graph": graph})
        left.append(outcome(run(config)))
    assert left[0] == left[1]


@pytest.mark.gpu
def test_replayed_run_resumes_with_the_same_bits(tmp_path: Path) -> None:
    settings = {"device": "cuda", "checkpoint_every": 7}
    whole = run(analog_config(tmp_path / "whole", run=settings))
    broken = analog_config(tmp_path / "broken", run=settings)

    class Stop(Recorder):
        def epoch(self, row: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(broken, Stop())
    resume(run_folder(broken), Recorder())
    assert outcome(run_folder(broken)) == outcome(whole)


@pytest.mark.gpu
def test_noise_differs_from_replay_to_replay(tmp_path: Path) -> None:
    """The loss of the same samples with fixed weights changes from step to step by the noise of the products alone."""
    from engine.experiment.loop import Loop
    from engine.optim.replay import WARM_UP

    config = analog_config(tmp_path, run={"device": "cuda"}, device={"dw_min": 1e-7, "lifetime": 0.0, "diffusion": 0.0})
    config["layers"] = {}
    loop = Loop(small_config(tmp_path) | config)
    assert loop.replayed is not None
    index = torch.arange(10, device="cuda")
    losses = [loop.replayed.step(index, 1e-9).item() for _ in range(WARM_UP + 5)]
    assert len(set(losses)) == len(losses)
