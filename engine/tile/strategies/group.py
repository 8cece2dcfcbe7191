"""The kernels of cells of several devices, a function for each.

Shapes: L replicas (left out for L = 1), O rows, I columns, B samples, K devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.jit.programs import Program, fill, group_program
from engine.jit.struct import read_struct
from engine.tile.pulses import PLAN_WORDS
from engine.tile.trains import Trains

HEADER = "group/group.cuh"


class Thresholds(NamedTuple):
    """Weights of a device from which a pair is full: beyond `high` where this device is the larger
    one, beyond `low` where the other is."""

    high: float
    low: float


def deal_plans(
    t: Trains, devices: int, control: Tensor, call: int, policy: tuple[int, int]
) -> Tensor:
    """Plans [K, L, B, ..]: all samples for each device, or its own, by `policy` and the first
    device."""
    args, plans = _train_args(t, devices), _plans_of(t, devices, 1)
    (args.policy, args.first), args.call = policy, call
    fill(args, ("control", "frozen", "dealt"), (control, t.frozen, plans))
    _program(t.plans).run("deal_plans", args, threads=1)
    return plans


def split_words(t: Trains) -> list[Trains]:
    """For both devices of a one-sided pair: each sample as two, of positive inputs and of negative
    ones."""
    args, plans = _train_args(t, 2), _plans_of(t, 2, 2)
    lanes, samples, parts, inputs = t.x_words.shape
    outputs = t.d_words.shape[3]
    x_words = t.x_words.new_empty(lanes, 2 * samples, parts, inputs)
    d_words = t.d_words.new_empty(2, lanes, 2 * samples, parts, outputs)
    fill(args, ("x_split", "d_split", "dealt"), (x_words, d_words, plans))
    args.items *= parts * (inputs + outputs)
    _program(t.plans).run("split_words", args)
    return [
        Trains(plans[k], t.frozen if k == 0 else None, x_words, d_words[k], t.kind)
        for k in range(2)
    ]


def combine_cells(
    weight: Tensor, parts: Sequence[Tensor], factors: Sequence[float]
) -> None:
    """Writes the sum of factor_k W_k of all devices [.., O, I], in their order, to `weight`."""
    args = read_struct(HEADER, "GroupArgs")()
    args.items, args.devices, args.w = weight.numel(), len(parts), weight.data_ptr()
    for k, (part, factor) in enumerate(zip(parts, factors, strict=True)):
        args.parts[k], args.factors[k] = part.data_ptr(), factor
    _program(weight).run("combine_cells", args)


def choose_refresh(
    up: Tensor, down: Tensor, up_limits: Thresholds, down_limits: Thresholds
) -> tuple[Tensor, list[Tensor]]:
    """Which pairs [.., O, I] are full (1), and what to write to their devices afterwards, for what
    was read of them: these lie as [.., I, O]."""
    writes = [torch.empty_like(up), torch.empty_like(down)]
    chosen = torch.empty_like(up.mT, memory_format=torch.contiguous_format)
    args = read_struct(HEADER, "RefreshArgs")()
    args.items, (args.cols, args.rows) = up.numel(), up.shape[-2:]
    args.up_high, args.up_low = up_limits
    args.down_high, args.down_low = down_limits
    names = ("up", "down", "up_write", "down_write", "chosen")
    fill(args, names, (up, down, *writes, chosen))
    _program(up).run("choose_refresh", args)
    return chosen, writes


def _train_args(t: Trains, devices: int) -> Any:
    """The sizes of a call, and its trains; an item is a sample."""
    args = read_struct(HEADER, "GroupArgs")()
    args.replicas, args.batch, args.words, args.cols = t.x_words.shape
    args.rows, args.devices = t.d_words.shape[3], devices
    args.items = args.replicas * args.batch
    fill(args, ("plans", "x_words", "d_words"), (t.plans, t.x_words, t.d_words))
    return args


def _plans_of(t: Trains, devices: int, times: int) -> Tensor:
    lanes, samples = t.x_words.shape[:2]
    return t.plans.new_empty(devices, lanes, times * samples, PLAN_WORDS)


def _program(where: Tensor) -> Program:
    return group_program(where.device.type)
