"""A layer learns given weights from the errors of its outputs, as a test of device and algorithm
without a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.experiment.config import setting
from engine.experiment.tasks import task_settings

if TYPE_CHECKING:
    from torch import Tensor

    from engine.experiment.runs import RunFolder
    from engine.experiment.train import Reporter

ABOUT = "Program weights: random inputs, and the squared error of the outputs against those of target weights."
SOURCE = "Rasch, Carta, Fagbohungbe & Gokmen, Nat. Commun. 15:7133 (2024), doi:10.1038/s41467-024-51221-z, Fig. 4"
SECTIONS = ("device", "tile", "algorithm")
FIGURE, LOWER_IS_BETTER = "weight_error", True


@dataclass
class Settings:
    """Layer, targets and learning."""

    rows: int = setting(20, "outputs of the layer", minimum=1)
    columns: int = setting(20, "inputs of the layer", minimum=1)
    target_std: float = setting(
        0.3, "standard deviation of the target weights", unit="weight", above=0
    )
    target_max: float = setting(
        0.6, "target weights are clipped here", unit="weight", above=0
    )
    steps: int = setting(20000, "mini-batches", minimum=1)
    batch_size: int = setting(1, "samples in a mini-batch", minimum=1)
    lr: float = setting(
        0.1, "learning rate on the mean over samples of half the squared error", above=0
    )
    reports: int = setting(100, "lines of metrics.csv", minimum=4)


def check(settings: Settings) -> None:
    """Raises ValueError for settings that do not fit together."""
    if settings.reports > settings.steps:
        raise ValueError(
            f"task.reports must be <= task.steps = {settings.steps}, not {settings.reports}"
        )


def run(
    config: Mapping[str, Any], folder: RunFolder, reporter: Reporter
) -> dict[str, Any]:
    """Learn, and write the error of the weights as it falls; the figure is its mean over the last
    quarter."""
    import torch

    from engine.experiment.processor import processor
    from engine.nn import AnalogLinear
    from engine.optim import AnalogSGD
    from engine.settings import UserError
    from engine.tile.settings import TileSpec

    s, seed = task_settings(config, Settings), int(config["run"]["seed"])
    draws = torch.Generator().manual_seed(seed)
    where = processor(config["run"])
    try:
        layer = AnalogLinear(
            s.columns, s.rows, bias=False, tile=TileSpec.from_config(config), seed=seed
        ).to(where)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    target = (
        s.target_std
        * torch.randn(s.rows, s.columns, dtype=torch.float32, generator=draws)
    ).clamp(-s.target_max, s.target_max)
    optimizer, rows = AnalogSGD(layer.parameters(), lr=s.lr), list[dict[str, Any]]()
    layer.set_weights(torch.zeros_like(target))
    aim, every = target.to(where), s.steps // s.reports
    for step in range(1, s.steps + 1):
        x = torch.randn(
            s.batch_size, s.columns, dtype=torch.float32, generator=draws
        ).to(where)
        optimizer.zero_grad()
        loss = 0.5 * (layer(x) - x @ aim.T).square().sum() / s.batch_size
        loss.backward()
        optimizer.step()
        if step % every == 0:
            rows.append(
                {
                    "step": step,
                    "weight_error": weight_error(layer.get_weights()[0], aim),
                    "loss": float(loss.detach()),
                }
            )
    folder.write_metrics(rows)
    last = [row["weight_error"] for row in rows[-len(rows) // 4 :]]
    reporter.message(
        f"weight error {sum(last) / len(last):.4g}, {rows[0]['weight_error']:.4g} at the first report"
    )
    return {
        "weight_error": sum(last) / len(last),
        "best_weight_error": min(row["weight_error"] for row in rows),
    }


def weight_error(weight: Tensor, target: Tensor) -> float:
    """Standard deviation of the error, as a share of the largest target weight: [O, I] and [O,
    I]."""
    return float((weight - target).square().mean().sqrt() / target.abs().max())
