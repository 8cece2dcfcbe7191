"""The trained network of a recorded run, for whatever comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.runs import offline, read_config, read_record
from engine.experiment.tasks import TRAIN
from engine.settings import UserError
from engine.trust.code import check_code_in

if TYPE_CHECKING:
    import torch
    from torch import nn


def load(folder: str | Path, *, device: str = "cpu") -> nn.Module:
    """The network of a run folder as its newest checkpoint has it: tiles with their cells, scales,
    ranges and the state of their algorithms.

    A device file of the run's own takes `with code_permission(True):` around the call. Raises
    UserError for a folder without a trained network."""
    import torch

    from engine.experiment.tasks._trained import trained

    path = Path(folder).expanduser()
    config = _trained_config(path)
    model, _ = trained(config, path, info(config), torch.device(device))
    return model.eval()


def example(config: Mapping[str, Any], samples: int) -> torch.Tensor:
    """Random inputs of the kind that a network of this configuration takes."""
    import torch

    from engine.experiment.data import TEXT

    about = info(config)
    generator = torch.Generator().manual_seed(1)
    if about.kind == TEXT:
        return torch.randint(
            about.classes, (samples, *about.shape), generator=generator
        )
    return torch.rand(samples, *about.shape, generator=generator, dtype=torch.float32)


def info(config: Mapping[str, Any]) -> Any:
    """What a network must know of the dataset of a configuration."""
    from engine.experiment.data import dataset_info

    return dataset_info(config["dataset"])


def _trained_config(path: Path) -> dict[str, Any]:
    task = read_record(path).get("task", TRAIN)
    if task != TRAIN:
        raise UserError(
            f"{path} is a run of the task {task}: there is no network in it"
        )
    config = read_config(path)
    check_code_in(config, path)
    # The text of a dataset decides how many characters a network knows; it is not fetched for that.
    return offline(config)
