"""Transfers of chopped gradients: signs of rows and columns switch, so that offsets of the fast
array cancel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.algorithms.parts.chain import check_period, gammas, numbers
from engine.algorithms.parts.transfer import OnePulse, Shared, like, shared_values
from engine.tile.settings import setting

if TYPE_CHECKING:
    from engine.tile.transfers.wiring import Wiring


@dataclass
class Chopped(Shared):
    """Settings of chopped transfers."""

    transfer_every: float = setting(
        1.0,
        "period of the reads; < 0 = that share of a cell's states, by slice",
        "samples",
    )
    scale_fast_lr: bool = like(Shared, "scale_fast_lr", False)
    gamma_vec: list[float] = numbers(
        "share of both arrays in the weight; empty = gamma and 1"
    )
    in_chop_prob: float = setting(
        0.1,
        "probability that a slice's chopper switches at its read, or one over the period",
        minimum=0,
        maximum=1,
    )
    buffer_granularity: float = setting(
        1.0, "unit of the buffer; <= 0 = 1", "steps of the fast array"
    )
    auto_granularity: float = setting(
        0.0, "> 0: the unit also grows with this over the reads of a sweep", minimum=0
    )
    auto_scale: bool = setting(
        False, "fast_lr follows the largest inputs and gradients seen"
    )
    auto_momentum: float = setting(
        0.99, "memory of those largest values", above=0, maximum=1
    )
    correct_gradient_magnitudes: bool = setting(
        False, "what is read counts in units of the fast learning rate"
    )
    gamma_with_choppers: bool = setting(
        True, "the fast array's share in the weight has the signs of its choppers"
    )
    step: float = setting(
        1.0, "size of a write", "steps of the visible array", minimum=0
    )
    momentum: float = setting(
        0.0, "share of the buffer that a write leaves", minimum=0, maximum=1
    )
    forget_buffer: bool = setting(
        True,
        "a write leaves momentum times the buffer; otherwise only its pulses are taken off",
    )
    transfer_update: OnePulse = field(default_factory=OnePulse)


def chopper_wiring(s: Any, rule: str, **more: Any) -> Wiring:
    """How both arrays are coupled. Raises ValueError in one line."""
    from engine.tile.transfers.wiring import Wiring

    if s.transfer_every == 0:
        raise ValueError(
            "algorithm.transfer_every must not be 0: > 0 counts samples, < 0 a share of the cell's states"
        )
    values = shared_values(s) | {
        "in_chop_prob": s.in_chop_prob,
        "sweeps": max(math.ceil(1 / s.in_chop_prob), 2) if s.in_chop_prob > 0 else 1,
        "chop_random": int(s.in_chop_random),
        "buffer_granularity": s.buffer_granularity,
        "auto_granularity": s.auto_granularity,
        "auto_scale": int(s.auto_scale),
        "correct_magnitude": int(s.correct_gradient_magnitudes),
        "sum_signs": int(s.gamma_with_choppers),
        "step": s.step,
        "momentum": s.momentum,
        "forget": int(s.forget_buffer),
    }
    wiring = Wiring(
        rule=rule,
        every=(s.transfer_every,),
        gamma=gammas(s),
        write=s.transfer_update,
        values=values | more,
        units_in_mbatch=s.units_in_mbatch,
        auto_momentum=s.auto_momentum,
        mean_granularity=s.fast_granularity == "mean",
    )
    check_period(wiring)
    return wiring
