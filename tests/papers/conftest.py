"""The command line in an empty folder, a made-up paper in it, and recorded runs without
training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from aihw_cli.compose import compose
from engine.experiment.runs import run_folder
from tests.cli.conftest import Result, aihw, folder, write

__all__ = ["Result", "aihw", "folder"]

FIGURE: dict[str, Any] = {
    "claim": "Pulses learn digits nearly as well as floating point.",
    "source": "Nobody, Journal of Nothing 1:1 (2020), doi:10.1000/toy",
    "seeds": 2,
    "run": {"epochs": 2, "threads": 1},
    "dataset": {"train_samples": 40, "test_samples": 20},
    "reproduce": {
        "place": "Fig. 1",
        "metric": "test_error",
        "grade": "FT",
        "evidence": "made up",
        "points": {"digital": ["algorithm=digital"], "pulsed": []},
        "expected": {"digital": 2.0, "pulsed": 3.0},
        "tolerance": 0.5,
        "order": ["digital < pulsed"],
        "minutes": 0.1,
        "scaled": {"set": ["run.epochs=1"], "minutes": 0.05},
    },
}
BIB = "@article{toy2020,\n  title = {Toy & Sons <Ltd>},\n  doi = {10.1000/toy}\n}\n"


def figure_text(**changes: Any) -> str:
    """The text of a recipe; `changes` go into its `reproduce` node, None takes a key away."""
    node = {
        k: v for k, v in {**FIGURE["reproduce"], **changes}.items() if v is not None
    }
    return yaml.safe_dump({**FIGURE, "reproduce": node}, sort_keys=False)


@pytest.fixture
def paper(folder: Path) -> Path:
    """The recipe `toy2020/fig1` in the current folder."""
    write(folder / "experiments/toy2020/paper.bib", BIB)
    return write(folder / "experiments/toy2020/fig1.yaml", figure_text())


def record(*words: str, seed: int = 1, error: float = 2.0, **summary: Any) -> Path:
    """A finished run of `conf=toy2020/fig1` with these changes, as `aihw train` would leave it."""
    config = compose(
        ["conf=toy2020/fig1", *words, f"run.seed={seed}", "seeds=1"]
    ).values
    place = run_folder(config)
    accuracy = 1 - error / 100
    entry = {
        "format": 1, "id": f"{place.parent.name}/{place.name}", "name": config["name"], "status": "finished",
        "hash": place.name.rpartition("-")[0], "seed": seed, "commit": "0123456789abcdef", "device": "cpu",
        "host": {"name": "here", "system": "Linux", "processor": "x"}, "versions": {"aihw": "1.2.3"},
    }  # fmt: skip
    told: Mapping[str, Any] = {
        "status": "finished",
        "test_accuracy": accuracy,
        "epochs": 2,
        "seconds": 3.0,
        **summary,
    }
    write(place / "run.json", json.dumps(entry))
    write(place / "summary.json", json.dumps(told))
    write(place / "config.yaml", yaml.safe_dump(config))
    write(place / "metrics.csv", f"epoch,test_accuracy\n1,0.5\n2,{accuracy}\n")
    return place


def record_all(digital: float = 2.1, pulsed: float = 3.2) -> None:
    """All four runs of the made-up figure."""
    for seed in (1, 2):
        record("algorithm=digital", seed=seed, error=digital + 0.1 * (seed - 1))
        record(seed=seed, error=pulsed + 0.1 * (seed - 1))
