"""Optimizers by name, for networks whose layers learn by pulses, by gradients, or both."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from engine.nn.analog import AnalogTile
from engine.optim.combined import AnalogOptimizer
from engine.optim.sgd import AnalogSGD, digital_parameters, pulsed_parameters

COMMON = ("lr", "weight_decay")
# What each takes beside the settings that all have.
TAKES = {
    "analog_sgd": ("momentum", "nesterov"),
    "sgd": ("momentum", "nesterov"),
    "adam": ("betas", "eps"),
    "adamw": ("betas", "eps"),
}
# Their steps are not in units of the gradient, and tiles need a learning rate that is.
ADAPTIVE = ("adam", "adamw")
TILE_LR = 0.1
DEFAULTS: dict[str, Any] = {
    "momentum": 0.0,
    "nesterov": False,
    "betas": [0.9, 0.999],
    "eps": 1e-8,
}


def make_optimizer(model: nn.Module, settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer `settings["name"]` for all parameters of a network, whose tiles it settles
    after each step.

    Raises ValueError in one line for settings that it does not have, and for layers that it cannot
    train."""
    pulsed = sorted(
        {
            _layer(path)
            for path, m in model.named_modules()
            if isinstance(m, AnalogTile) and not m.learns_by_gradient
        }
    )
    return settle_after_steps(plain_optimizer(model, settings, pulsed), model)


def plain_optimizer(
    model: nn.Module, settings: Mapping[str, Any], pulsed: Sequence[str]
) -> Optimizer:
    """The same without a look at tiles; `pulsed` names the layers that learn by pulses."""
    name = str(settings.get("name") or "analog_sgd")
    if name not in TAKES:
        raise ValueError(
            f"optimizer.name must be one of {', '.join(TAKES)}, not {name!r}"
        )
    given = {key: value for key, value in settings.items() if value is not None}
    for key, default in DEFAULTS.items():
        if key not in TAKES[name] and key in given and _plain(given[key]) != default:
            raise ValueError(
                f"optimizer.{key} means nothing to {name}, which takes {', '.join(COMMON + TAKES[name])}"
            )
    values = {key: _plain(given.get(key, DEFAULTS[key])) for key in TAKES[name]}
    values |= {
        "lr": float(given.get("lr", 0.01)),
        "weight_decay": float(given.get("weight_decay", 0.0)),
    }
    if values.get("nesterov") and not values["momentum"]:
        raise ValueError("optimizer.nesterov needs a momentum > 0")
    if len(values.get("betas", (0, 0))) != 2:
        raise ValueError(f"optimizer.betas must be two numbers, not {values['betas']}")
    tile_lr = float(given.get("tile_lr") or 0.0)
    if not pulsed or (name == "analog_sgd" and not tile_lr):
        made: Optimizer = _kind(name)(model.parameters(), **values)
        return made
    if not tile_lr:
        tile_lr = TILE_LR if name in ADAPTIVE else values["lr"]
    return _beside_pulses(model, name, values, tile_lr)


def _beside_pulses(
    model: nn.Module, name: str, values: Mapping[str, Any], tile_lr: float
) -> Optimizer:
    """An optimizer of digital parameters, and pulses at a learning rate of their own. `base_lr` of a
    group is what a schedule starts from."""
    digital, pulses = digital_parameters(model), pulsed_parameters(model)
    groups: list[dict[str, Any]] = (
        [{"params": digital, "base_lr": values["lr"]}] if digital else []
    )
    groups.append({"params": pulses, "lr": tile_lr, "base_lr": tile_lr})
    if name == "analog_sgd":
        return AnalogSGD(groups, **values)
    return AnalogOptimizer(_kind(name), groups, **values)


def settle_after_steps(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """Clips and remaps tiles that learn by gradients at the end of each step of any torch
    optimizer."""
    tiles = [
        m for m in model.modules() if isinstance(m, AnalogTile) and m.learns_by_gradient
    ]

    def settle(*_: Any) -> None:
        for tile in tiles:
            tile.settle()

    if tiles:
        optimizer.register_step_post_hook(settle)
    return optimizer


@functools.cache
def _kind(name: str) -> type[Any]:
    """The class of a name. Those of torch lose wrappers that import its compiler, for a second and
    for nothing."""
    if name == "analog_sgd":
        return AnalogSGD
    kind: Any = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }[name]
    bare = {
        "step": torch.no_grad()(inspect.unwrap(kind.step)),
        "add_param_group": AnalogSGD.add_param_group,
    }
    return type(kind.__name__, (kind,), bare)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _layer(path: str) -> str:
    """`conv1` of `conv1.grid.tiles.0`, `lstm` of `lstm.ih_l0.tiles.0`."""
    return path.rpartition(".tiles.")[0].rpartition(".")[0]
