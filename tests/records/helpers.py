"""Run folders as training leaves them, written directly: results are a formula of the settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.experiment.runs import COLUMNS, FORMAT

RATES = (0.01, 0.03, 0.1, 0.3)
EPOCHS = 4


def config(lr: float = 0.1, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """A short configuration with the sections of a real one; `changes` are dotted keys with __ for
    the dots."""
    values: dict[str, Any] = {
        "name": "made",
        "device": {
            "model": "constant_step",
            "about": "",
            "dw_min": 0.001,
            "w_max": 0.6,
        },
        "tile": {"about": "", "forward": {"out_noise": 0.06}},
        "algorithm": {"name": "sgd", "about": "plain"},
        "model": {"name": "mlp", "hidden": [16]},
        "dataset": {"name": "digits", "root": "/data", "batch_size": 10},
        "optimizer": {"name": "analog_sgd", "lr": lr},
        "run": {"epochs": EPOCHS, "seed": seed, "device": "cpu", "dir": "runs"},
        "layers": {},
        "seeds": 1,
    }
    for key, value in changes.items():
        place, *parts = values, *key.split("__")
        for part in parts[:-1]:
            place = place[part]
        place[parts[-1]] = value
    return values


def accuracy(values: dict[str, Any]) -> float:
    """Best at lr 0.1, a little noise from the seed, less with larger steps."""
    lr, seed = values["optimizer"]["lr"], values["run"]["seed"]
    return round(
        0.95
        - 0.05 * math.log10(lr / 0.1) ** 2
        - 10 * values["device"]["dw_min"]
        + 0.002 * (seed % 3 - 1),
        6,
    )


def write_run(
    root: Path, values: dict[str, Any], *, number: int = 0, **record: Any
) -> Path:
    """A finished run; `number` makes the hash of its configuration."""
    seed, identity = values["run"]["seed"], f"{number:012x}"
    folder = root / values["name"] / f"{identity}-{seed}"
    folder.mkdir(parents=True)
    final = accuracy(values)
    lr, clock = values["optimizer"]["lr"], f"{number // 60 % 60:02d}:{number % 60:02d}"
    rows = [{"epoch": k, "lr": lr, "train_loss": 1 / k, "train_accuracy": final, "test_loss": 2 / k,
             "test_accuracy": final - 0.1 / k + 0.1 / EPOCHS, "samples": 10 * k, "seconds": 0.5 * k}
            for k in range(1, EPOCHS + 1)]  # fmt: skip
    told = {"format": FORMAT, "id": f"{values['name']}/{folder.name}", "name": values["name"], "hash": identity,
            "seed": seed, "status": "finished", "started": f"2026-01-01T00:{clock}+0000",
            "ended": None, "seconds": 2.0, "commit": "abc", "versions": {"torch": "2.9"}, "host": {"name": "here"},
            "device": "cpu", "threads": 1, "citations": ["A paper"], **record}  # fmt: skip
    summary = {"status": "finished", "name": values["name"], "test_accuracy": final, "test_loss": 0.5,
               "best_test_accuracy": final, "epochs": EPOCHS, "samples": 40, "seconds": 2.0, "seed": seed}  # fmt: skip
    text = yaml.dump(
        values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False
    )
    (folder / "config.yaml").write_text(text)
    (folder / "run.json").write_text(json.dumps(told))
    lines = [",".join(str(row[column]) for column in COLUMNS) for row in rows]
    (folder / "metrics.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    if told["status"] == "finished":
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def write_sweep(root: Path, count: int = 24) -> list[Path]:
    """Runs over learning rates, step sizes and three seeds."""
    return [
        write_run(root, values, number=number // 3)
        for number, values in enumerate(points(count))
    ]


def points(count: int) -> Iterator[dict[str, Any]]:
    """Configurations of a sweep; every three differ only in their seed."""
    for number in range(count):
        point = number // 3
        yield config(
            RATES[point % 4], 1 + number % 3, device__dw_min=0.001 * (1 + point // 4)
        )
