"""The error of analog products with random matrices on programmed devices."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.experiment.config import setting
from engine.experiment.tasks import task_settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.experiment.runs import RunFolder
    from engine.experiment.train import Reporter

ABOUT = "Program random matrices on devices and compare their products, at one time, with exact ones."
SOURCE = (
    "Rasch et al., Nat. Commun. 14:5282 (2023), doi:10.1038/s41467-023-40770-4, eq. 20"
)
SECTIONS = ("device", "tile", "algorithm", "inference")
FIGURE, LOWER_IS_BETTER = "mvm_error", True
SEEDS = (1 << 62) - 1


@dataclass
class Settings:
    """The matrices and vectors, and when they meet."""

    rows: int = setting(512, "outputs of a matrix", minimum=1)
    columns: int = setting(512, "inputs of a matrix", minimum=1)
    weight_std: float = setting(
        0.246, "standard deviation of the normal weights", above=0
    )
    weight_limit: float = setting(
        1.0,
        "weights are clipped to plus or minus this, which takes all of g_max",
        above=0,
    )
    zeros: float = setting(
        0.0,
        "share of inputs that are 0; the others are uniform in -1 to 1",
        minimum=0,
        maximum=1,
    )
    vectors: int = setting(256, "vectors for each matrix", minimum=1)
    matrices: int = setting(10, "matrices, each programmed once", minimum=1)
    time: float = setting(0.0, "age of the programmed devices", unit="s", minimum=0)


def check(settings: Settings) -> None:
    """Raises ValueError for settings that leave nothing to compare."""
    if settings.zeros == 1:
        raise ValueError("task.zeros must be < 1: without inputs there are no outputs")


def run(
    config: Mapping[str, Any], folder: RunFolder, reporter: Reporter
) -> dict[str, Any]:
    """Measure, and write the error of each matrix."""
    import torch

    from engine.experiment.processor import processor
    from engine.experiment.tasks._arrays import programmed_matrix
    from engine.tile.keys import derive

    settings, where = task_settings(config, Settings), processor(config["run"])
    rows: list[dict[str, Any]] = []
    for number in range(settings.matrices):
        seed = derive(int(config["run"]["seed"]), number) & SEEDS
        weight, x = draw(settings, torch.Generator().manual_seed(seed))
        matrix = programmed_matrix(
            config, weight, seed=seed, time=settings.time, device=where
        )
        exact, found = weight @ x, matrix.matvec(x.to(where)).cpu()
        rows.append(
            {
                "matrix": number + 1,
                "mvm_error": error(found, exact),
                "slope": slope(found, exact),
            }
        )
        folder.write_metrics(rows)
        reporter.message(
            f"matrix {number + 1}/{settings.matrices}: error {rows[-1]['mvm_error']:.4f}"
        )
    errors = [row["mvm_error"] for row in rows]
    return {
        "mvm_error": statistics.fmean(errors),
        "std": statistics.stdev(errors) if len(errors) > 1 else 0.0,
        "slope": statistics.fmean(row["slope"] for row in rows),
    }


def draw(settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A matrix [O, I] and vectors [I, B]."""
    import torch

    shape = (settings.rows, settings.columns)
    limit = settings.weight_limit
    weight = (
        settings.weight_std
        * torch.randn(shape, dtype=torch.float32, generator=generator)
    ).clamp(-limit, limit)
    # The largest weight takes g_max, as if a weight at the limit had been drawn.
    weight.view(-1)[weight.abs().argmax()] = limit
    x = (
        2
        * torch.rand(
            settings.columns, settings.vectors, dtype=torch.float32, generator=generator
        )
        - 1
    )
    return weight, x * (
        torch.rand(x.shape, dtype=torch.float32, generator=generator) >= settings.zeros
    )


def error(found: Tensor, exact: Tensor) -> float:
    """The mean length of the error over the mean length of the exact product; [O, B]."""
    return float((found - exact).norm(dim=0).mean() / exact.norm(dim=0).mean())


def slope(found: Tensor, exact: Tensor) -> float:
    """By which factor the products are too large, in the mean."""
    return float((found * exact).sum() / exact.square().sum())
