"""Training steps that a GPU replays as one graph: what can be replayed, and that replaying changes
no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment.build import build
from engine.experiment.data import Info
from engine.experiment.runs import run_folder
from engine.experiment.train import resume
from engine.optim.replay import obstacle
from tests.experiment.helpers import Recorder, analog_config, outcome, run, small_config

FAST = {"fast_lr": 0.5, "transfer_every": 2.0}
SCALED: dict[str, Any] = {"mapping": {"weight_scaling_omega": 0.6}}
HWA: dict[str, Any] = {"device": {"model": "ideal"}, "algorithm": {"name": "hwa"}}
REPLAYED: dict[str, dict[str, Any]] = {
    "sgd": {},
    "scaled": {"tile": SCALED},
    "tiki_taka": {"algorithm": {"name": "tiki_taka", **FAST}},
    "ttv2": {"algorithm": {"name": "ttv2", **FAST}},
    "chopped_ttv2": {"algorithm": {"name": "chopped_ttv2", **FAST}},
    "agad": {"algorithm": {"name": "agad", **FAST}},
    "digital": {"algorithm": {"name": "digital"}},
    "mixed_precision": {"algorithm": {"name": "mixed_precision"}},
    "mixed_precision_first": {
        "algorithm": {"name": "mixed_precision", "transfer_first": True}
    },
    "mixed_precision_rows": {
        "algorithm": {"name": "mixed_precision", "transfer_every": 2}
    },
    "hwa": HWA
    | {
        "tile": {
            "modifier": {"type": "AddNormal", "std_dev": 0.1},
            "input_range": {"enable": True},
        }
    },
    "hwa_adam": HWA | {"optimizer": {"name": "adam", "lr": 0.01, "momentum": 0.0}},
}
PAIR = {"model": "reference_pair", "cells": {"a": {"model": "constant_step"}}}
HINDERED: dict[str, tuple[dict[str, Any], str]] = {
    "lrtt": ({"algorithm": {"name": "lrtt", "rank": 4}}, "lrtt decides"),
    "cells": ({"device": PAIR}, "several devices"),
    "fast cells": ({"algorithm": {"name": "tiki_taka", "fast": PAIR}}, "several devices (reference_pair)"),
    "scales": ({"tile": {"mapping": SCALED["mapping"] | {"weight_scaling_lr_compensation": True}}}, "reads the scales"),
}  # fmt: skip


def config_of(folder: Path, changes: dict[str, Any], **run: Any) -> dict[str, Any]:
    config = analog_config(folder, **changes, run=run)
    return config | {"device": changes.get("device", config["device"])}


def obstacle_of(config: dict[str, Any]) -> str:
    return obstacle(build(config, Info((1, 8, 8), 10), torch.device("cpu"))[0])


@pytest.mark.parametrize("name", REPLAYED)
def test_what_can_be_replayed(name: str, tmp_path: Path) -> None:
    assert obstacle_of(config_of(tmp_path, REPLAYED[name])) == ""


@pytest.mark.parametrize("name", HINDERED)
def test_what_cannot_be_replayed_is_named(name: str, tmp_path: Path) -> None:
    changes, words = HINDERED[name]
    assert words in obstacle_of(config_of(tmp_path, changes))


@pytest.mark.gpu
@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_steps_are_launched_steps(name: str, tmp_path: Path) -> None:
    left = []
    for graph in (True, False):
        left.append(
            outcome(
                run(
                    config_of(
                        tmp_path / str(graph),
                        REPLAYED[name],
                        device="cuda",
                        graph=graph,
                    )
                )
            )
        )
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
    """The loss of the same samples with fixed weights changes from step to step by the noise of the
    products alone."""
    from engine.experiment.loop import Loop
    from engine.optim.replay import WARM_UP

    config = analog_config(
        tmp_path,
        run={"device": "cuda"},
        device={"dw_min": 1e-7, "lifetime": 0.0, "diffusion": 0.0},
    )
    config["layers"] = {}
    loop = Loop(small_config(tmp_path) | config)
    assert loop.replayed is not None
    index = torch.arange(10, device="cuda")
    for group in loop.optimizer.param_groups:
        group["lr"] = 0.0
    losses = [loop.replayed.step(index, 0.0).item() for _ in range(WARM_UP + 5)]
    assert len(set(losses)) == len(losses)
