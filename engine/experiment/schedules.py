"""Learning-rate schedules: pure functions of the epoch, so that a resumed run needs no state of
them.

An epoch counts from 0; the shapes are those of torch's schedulers, stepped once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from engine.settings import UserError

Settings = Mapping[str, Any]


def learning_rate(optimizer: Settings, epoch: int, epochs: int) -> float:
    """The learning rate in `epoch` of `epochs`, from the group `optimizer`."""
    schedule = optimizer.get("schedule") or {"name": "constant"}
    name = schedule.get("name", "constant")
    if name not in SHAPES:
        raise UserError(
            f"optimizer.schedule.name: no schedule {name!r}; there are {', '.join(SHAPES)}"
        )
    return SHAPES[name](schedule, float(optimizer["lr"]), epoch, epochs)


def warmed_up(optimizer: Settings, steps: int) -> float:
    """The factor of the learning rate in the step after `steps` others."""
    warmup = int(optimizer.get("warmup") or 0)
    return min(1.0, (steps + 1) / warmup) if warmup else 1.0


def _constant(schedule: Settings, lr: float, epoch: int, epochs: int) -> float:
    return lr


def _step(schedule: Settings, lr: float, epoch: int, epochs: int) -> float:
    return lr * float(schedule.get("gamma", 0.1)) ** (
        epoch // int(schedule.get("step_size", 1))
    )


def _multistep(schedule: Settings, lr: float, epoch: int, epochs: int) -> float:
    passed = sum(
        epoch >= int(milestone) for milestone in schedule.get("milestones", ())
    )
    return lr * float(schedule.get("gamma", 0.1)) ** passed


def _exponential(schedule: Settings, lr: float, epoch: int, epochs: int) -> float:
    return lr * float(schedule.get("gamma", 0.1)) ** epoch


def _cosine(schedule: Settings, lr: float, epoch: int, epochs: int) -> float:
    final = float(schedule.get("final", 0.0))
    return final + (lr - final) * (1 + math.cos(math.pi * epoch / epochs)) / 2


SHAPES: dict[str, Callable[[Settings, float, int, int], float]] = {
    "constant": _constant,
    "step": _step,
    "multistep": _multistep,
    "exponential": _exponential,
    "cosine": _cosine,
}
