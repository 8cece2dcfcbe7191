"""Pulse trains as things of their own: drawn once, then dealt out to one or several arrays of the
same shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.jit.programs import fill
from engine.jit.struct import read_struct
from engine.tile.pulses import (
    _SPACE,
    MAX_WORDS,
    PLAN_WORDS,
    SLOTS,
    TYPES,
    _args,
    _plain,
    _plan,
    _space,
)
from engine.tile.settings import Update
from engine.tile.strategies import update as update_kernels

if TYPE_CHECKING:
    from engine.tile.cells import CellArray

# Places in a plan.
_PLAN: Any = read_struct("trains/trains.cuh", "Amplitude")
LENGTH, DOWN = _PLAN.length.offset // 4, _PLAN.down.offset // 4


@dataclass
class Trains:
    """Pulse trains of one update call, for one or for many arrays of the same shape.

    plans [lanes, batch, 4], x_words [lanes, batch, words, I], d_words [lanes, batch, words, O];
    `frozen` is the control block that they were drawn with, None for one that is still to be
    copied."""

    plans: Tensor
    frozen: Tensor | None
    x_words: Tensor
    d_words: Tensor
    kind: int = 0


def draw_trains(
    array: CellArray, x: Tensor, d: Tensor, settings: Update, *, granularity: float
) -> Trains:
    """Trains with the random numbers of `array` and the learning rate that was set last, for steps
    of `granularity`."""
    x, d = _plain(x, array), _plain(d, array)
    plan = _plan(settings, granularity, array.lr, array.weight.device)
    kind = TYPES[settings.pulse_type]
    words = max(1, math.ceil(plan.max_bl / SLOTS)) if kind == 0 else 1
    plans, frozen, x_words, d_words = _space(array, x.shape[-2], words)
    made = Trains(plans, frozen, x_words, d_words, kind)
    args = _train_args(array, x, d, plan, made)
    update_kernels.plan_samples(array.program(), args, array.weight.device)
    update_kernels.make_trains(array.program(), args)
    return made


def fill_trains(
    array: CellArray, samples: tuple[Tensor, Tensor], plan: Any, made: Trains
) -> None:
    """The words of `made`, whose plans and frozen control are there, for (x, d), with random
    numbers of a new call."""
    update_kernels.make_trains(
        array.program(), _train_args(array, *samples, plan, made)
    )


def _train_args(array: CellArray, x: Tensor, d: Tensor, plan: Any, t: Trains) -> Any:
    args = _args(array, x.shape[-2], t.x_words.shape[2])
    args.type, args.lr_scale, args.call = t.kind, 1.0, array.next_call()
    fill(
        args,
        ("x", "d", "plan", *_SPACE),
        (x, d, plan.tensor, t.plans, t.frozen, t.x_words, t.d_words),
    )
    return args


def apply_trains(array: CellArray, trains: Trains) -> None:
    """The pulses that these trains make on an array, with pulse noise of its own."""
    args = _args(array, trains.plans.shape[1], trains.x_words.shape[2])
    args.type, args.call = trains.kind, array.next_call()
    frozen = array.control.clone() if trains.frozen is None else trains.frozen
    fill(args, _SPACE, (trains.plans, frozen, trains.x_words, trains.d_words))
    update_kernels.run_made(array.program(), args)


def pulse_all(array: CellArray, n: int) -> None:
    """Exactly |n| pulses on every cell, up for n > 0: trains in which every slot fires."""
    length = abs(n)
    if length == 0 or array.model.ideal:
        return
    words = math.ceil(length / SLOTS)
    if words > MAX_WORDS:
        part = MAX_WORDS * SLOTS * (1 if n > 0 else -1)
        pulse_all(array, part)
        pulse_all(array, n - part)
        return
    full = [(1 << min(SLOTS, length - SLOTS * k)) - 1 for k in range(words)]
    where = array.weight.device
    column = torch.tensor(full, dtype=torch.int32, device=where).view(1, 1, words, 1)
    x_words = column.expand(array.lanes, 1, words, array.in_size).contiguous()
    d_words = column.expand(array.lanes, 1, words, array.out_size).contiguous()
    apply_trains(
        array, Trains(sure_plans(array, 1, length, n > 0), None, x_words, d_words)
    )


def sure_plans(array: CellArray, batch: int, length: int, up: bool) -> Tensor:
    """Plans of `batch` samples with trains of a given length in one direction."""
    plans = torch.zeros(
        array.lanes, batch, PLAN_WORDS, dtype=torch.int32, device=array.weight.device
    )
    plans[..., LENGTH], plans[..., DOWN] = length, int(not up)
    return plans
