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
from engine.optim.sgd import AnalogSGD

COMMON = ("lr", "weight_decay")
# What each takes beside the settings that all have.
TAKES = {
    "analog_sgd": ("momentum", "nesterov"),
    "sgd": ("momentum", "nesterov"),
    "adam": ("betas", "eps"),
    "adamw": ("betas", "eps"),
}
DEFAULTS: dict[str, Any] = {"momentum": 0.0, "nesterov": False, "betas": [0.9, 0.999], "eps": 1e-8}


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
        raise ValueError(f"optimizer.name must be one of {', '.join(TAKES)}, not {name!r}")
    given = {key: value for key, value in settings.items() if value is not None}
    for key, default in DEFAULTS.items():
        if key not in TAKES[name] and key in given and _plain(given[key]) != default:
            raise ValueError(
                f"optimizer.{key} means nothing to {name}, which takes {', '.join(COMMON + TAKES[name])}"
            )
    if pulsed and name != "analog_sgd":
        raise ValueError(
            f"optimizer {name} follows gradients, but layers {', '.join(pulsed)} learn by pulses: "
            "optimizer=analog_sgd trains them, or algorithm=hwa gives them gradients"
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
    made: Optimizer = _kind(name)(model.parameters(), **values)
    return made


def settle_after_steps(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """Clips and remaps tiles that learn by gradients at the end of each step of any torch
    optimizer."""
    tiles = [m for m in model.modules() if isinstance(m, AnalogTile) and m.learns_by_gradient]

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
    kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
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
