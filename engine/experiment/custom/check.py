"""Whether a network fits its samples, its loss and its first weights, before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.experiment.data import IMAGES, Info, dataset_info
from engine.experiment.feeding.prepare import check_transforms
from engine.experiment.tasks import TRAIN, task_of
from engine.readers.wording import first_line
from engine.settings import UserError, user_path
from engine.trust.code import is_code
from engine.trust.load import shown_name

if TYPE_CHECKING:
    from torch import nn

# The member whose networks depend on a name that is looked up elsewhere.
TORCHVISION = "torchvision"
SAMPLES = 2


def check_network(config: Mapping[str, Any]) -> None:
    """Build the digital network of a training once and try it, where that may fail: a network of
    the user's own or of torchvision, or weights from a file. Raises UserError."""
    from engine.experiment.tasks._trained import start_from, start_of

    model = config.get("model") or {}
    name, weights = str(model.get("name")), model.get("weights")
    custom = is_code(name) or is_code((config.get("dataset") or {}).get("name"))
    if config.get("dataset"):
        check_transforms(config["dataset"])
    if task_of(config) != TRAIN or not (custom or name == TORCHVISION or weights):
        return
    import torch

    from engine.experiment.build import check_names, check_size, digital, network

    info = dataset_info(config["dataset"])
    if not (custom or weights):
        check_size(config, info)  # tries the network on tensors without memory
        return
    plain = digital(config)
    built, layers = network(plain, info, torch.device("cpu"))
    check_names(config, layers)
    check_output(config, built, info)
    if weights:
        start_from(built, user_path(start_of(config)), plain, info=info)


def check_output(config: Mapping[str, Any], model: nn.Module, info: Info) -> None:
    """Raises UserError for a network that does not take the samples, or gives another shape than
    the loss wants."""
    import torch

    kind = torch.float32 if info.kind == IMAGES else torch.int64
    name, shape = (
        f"model {shown_name(config['model']['name'])}",
        " x ".join(map(str, info.shape)),
    )
    try:
        with torch.no_grad():
            found = model(torch.zeros(SAMPLES, *info.shape, dtype=kind))
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as problem:
        raise UserError(
            f"{name} does not fit samples of {shape}: {first_line(problem)}"
        ) from None
    # A text has scores of all characters at each of its places.
    wanted = (SAMPLES, info.classes, *(info.shape if info.kind != IMAGES else ()))
    if tuple(found.shape) != wanted:
        shapes = [
            " x ".join(map(str, size)) or "one number" for size in (found.shape, wanted)
        ]
        loss, dataset = config["loss"]["name"], shown_name(config["dataset"]["name"])
        raise UserError(
            f"{name} returns {shapes[0]} for {SAMPLES} samples of {shape}; the loss {loss} wants "
            f"{shapes[1]}: dataset {dataset} has {info.classes} classes"
        )
