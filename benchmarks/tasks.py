"""Our side of the benchmark: times each task in this process and prints one JSON line for it.

A step of a training task is forward, backward and the optimizer step on MNIST images in order, one
tile for each layer. The time of a task is the median of the second half of its steps."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# Task name -> preset; None is ordinary torch.
PRESETS: dict[str, str | None] = {
    "fp": None,
    "gokmen_vlasov": "gokmen_vlasov",
    "reram_es": "reram_es",
    "reram_sb": "reram_sb",
    "ecram": "ecram",
    "tiki_taka": "tiki_taka_reram_sb",
    "ttv2": "ttv2_reram_sb",
    "c_ttv2": "chopped_ttv2_reram_sb",
    "agad": "agad_reram_sb",
    "mixed_precision": "mixed_precision_reram_sb",
}
ONE_TILE = {"max_input_size": 0, "max_output_size": 0}
LEARNING_RATE = 0.01
Step = Callable[[], Any]


@dataclass(frozen=True)
class Budget:
    """How long a task may run, and the least number of steps."""

    seconds: float
    data: Path
    steps: int = 8


def median_of(step: Step, budget: Budget) -> float:
    """Seconds of one step."""
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < budget.seconds or len(times) < budget.steps:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[len(times) // 2 :])


def training(model: str, preset: str | None, batch: int) -> Callable[[Budget], float]:
    """Training steps of a model; the loss is summed over the batch."""

    def run(budget: Budget) -> float:
        import torch
        from torch.nn.functional import nll_loss

        from engine.experiment.build import build
        from engine.experiment.data import Info
        from engine.experiment.datasets import mnist

        config = one_tile_config(preset) | {
            "model": {"name": model},
            "loss": {"name": "nll"},
            "run": {"seed": 0},
        }
        config["optimizer"] = {"name": "analog_sgd", "lr": LEARNING_RATE}
        data = mnist.load({"root": str(budget.data)})
        network, optimizer = build(config, Info((1, 28, 28), 10), torch.device("cpu"))
        place = 0

        def step() -> None:
            nonlocal place
            x, y = (
                data.train_x[place : place + batch],
                data.train_y[place : place + batch],
            )
            place = (place + batch) % (len(data.train_x) - batch)
            optimizer.zero_grad()
            nll_loss(network(x), y, reduction="sum").backward()
            optimizer.step()

        return median_of(step, budget)

    return run


def one_tile_config(preset: str | None) -> dict[str, Any]:
    """Device, algorithm and tile of a preset, with one tile for each layer however large it is."""
    from engine.presets import overlay, preset_values

    if preset is None:
        return {"device": {}, "algorithm": {"name": "digital"}, "tile": {}}
    return overlay(preset_values(preset), {"tile": {"mapping": ONE_TILE}})


def updating(preset: str, size: int, batch: int) -> Callable[[Budget], float]:
    """One pulsed update of a dense batch: x and d uniform in (-1, 1)."""

    def run(budget: Budget) -> float:
        import torch

        from engine.tile.cells import CellArray
        from engine.tile.settings import TileSpec

        spec = TileSpec.from_config(one_tile_config(preset))
        torch.manual_seed(0)
        cells = CellArray(size, size, spec.device, seed=0)
        cells.set_weights((torch.rand(size, size) * 2 - 1) / size**0.5)
        x, d = torch.rand(batch, size) * 2 - 1, torch.rand(batch, size) * 2 - 1
        limit = Budget(min(budget.seconds, 4), budget.data, 6)
        return median_of(lambda: cells.update(x, d, LEARNING_RATE, spec.update), limit)

    return run


def multiplying(
    preset: str | None, train: bool, size: int = 512, batch: int = 256
) -> Callable[[Budget], float]:
    """One analog product, in training with its backward pass; without a preset the default
    periphery."""

    def run(budget: Budget) -> float:
        import torch

        from engine.nn import AnalogLinear
        from engine.tile.settings import TileSpec

        config = (
            {"tile": {"mapping": ONE_TILE}}
            if preset is None
            else one_tile_config(preset)
        )
        torch.manual_seed(0)
        layer = AnalogLinear(size, size, bias=False, tile=TileSpec.from_config(config))
        layer.train(train)
        x = torch.randn(batch, size)

        def step() -> None:
            if train:
                layer(x).sum().backward()
            else:
                with torch.no_grad():
                    layer(x)

        return median_of(step, Budget(min(budget.seconds, 3), budget.data))

    return run


def all_tasks() -> dict[str, tuple[int, Callable[[Budget], float]]]:
    """Every task: samples in a step, and what times it."""
    tasks: dict[str, tuple[int, Callable[[Budget], float]]] = {}
    for name, preset in PRESETS.items():
        tasks[f"train/fcn/b10/{name}"] = 10, training("fcn", preset, 10)
        tasks[f"train/lenet/b8/{name}"] = 8, training("lenet", preset, 8)
    for name in ("fp", "gokmen_vlasov", "reram_es", "reram_sb"):
        tasks[f"train/fcn/b1/{name}"] = 1, training("fcn", PRESETS[name], 1)
    for name in ("gokmen_vlasov", "reram_es", "reram_sb", "ecram"):
        tasks[f"update/1024/b64/{name}"] = 64, updating(name, 1024, 64)
    products = {
        "mvm/default/eval": (None, False),
        "mvm/hwa_add_normal/train": ("hwa_add_normal", True),
        "mvm/torch_tile/eval": (None, False),
        "mvm/standard_hwa/eval": ("standard_hwa", False),
        "mvm/standard_hwa/train": ("standard_hwa", True),
    }
    return tasks | {
        name: (256, multiplying(*product)) for name, product in products.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Prints `{"task": ..., "step_ms": ..., "samples_per_s": ...}`, or `"not_built"` with the
    reason."""
    from engine.settings import UserError

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tasks", description=__doc__
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder that holds MNIST/raw"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", default=".", help="regular expression")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--list", action="store_true", help="print the names only")
    options = parser.parse_args(arguments)
    chosen = {
        name: task
        for name, task in all_tasks().items()
        if re.search(options.tasks, name)
    }
    if options.list:
        print("\n".join(chosen))
        return 0
    import torch

    torch.set_num_threads(options.threads)
    for name, (samples, task) in chosen.items():
        try:
            seconds = task(Budget(options.seconds, options.data))
        except (UserError, ImportError) as error:
            line: dict[str, Any] = {
                "task": name,
                "not_built": str(error).splitlines()[0],
            }
        else:
            line = {
                "task": name,
                "step_ms": round(seconds * 1e3, 4),
                "samples_per_s": round(samples / seconds, 1),
            }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
