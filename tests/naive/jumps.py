"""Pulses of a window: the course of a weight under them, and one normal number for all where no
bound is near."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.naive.construct import Cells
from tests.naive.maths import F32, Floats, fma
from tests.naive.pulses import Ints

WINDOW, REACH, NOWHERE = 256, F32(6.7), F32(3.4e38)
LINEAR = ("linear_step", "soft_bounds", "soft_bounds_pmax", "soft_bounds_reference")
Sample = tuple[np.ndarray, np.ndarray]


class Waiting:
    """Samples whose pulses are not applied yet: the number for each cell, and whether they go
    up."""

    def __init__(self, size: int) -> None:
        self.samples: list[Sample] = []
        self.slots = np.zeros(size, np.int64)

    def full(self, length: int) -> np.ndarray:
        """Cells whose window has no room for trains of that length."""
        return np.flatnonzero((self.slots > 0) & (self.slots + length > WINDOW))

    def add(self, number: Ints, up: np.ndarray, length: int) -> None:
        self.samples.append((number.astype(np.uint32), up.copy()))
        self.slots += length

    def take(self, cells: np.ndarray) -> list[Sample]:
        """Number and direction for these cells, which wait no longer."""
        taken = [(number[cells], up[cells]) for number, up in self.samples]
        for number, _ in self.samples:
            number[cells] = 0
        self.slots[cells] = 0
        self.samples = [(number, up) for number, up in self.samples if number.any()]
        return [(number, up) for number, up in taken if number.any()]


def can_jump(device: str, params: Mapping[str, Any]) -> bool:
    """Whether a pulse adds noise that does not depend on the weight."""
    additive = device == "constant_step" or (
        device in LINEAR and not params["mult_noise"]
    )
    return additive and params["dw_min_std"] != 0


def terms(slope: Floats, number: np.ndarray) -> Floats:
    """1 + a + .. + a^(number - 1) for a = 1 + slope, from sums of 1, 2, 4, .. terms."""
    one, two = F32(1), F32(2)
    total, part = np.zeros_like(slope), np.ones_like(slope)
    for k in range(int(number.max(initial=0)).bit_length()):
        more = fma(fma(slope, total, one), part, total)
        total = np.where((number >> np.uint32(k)) & np.uint32(1) != 0, more, total)
        part = part * fma(slope, part, two)
    return total


def land(
    w: Floats, c: Cells, params: Mapping[str, Any], samples: list[Sample], z: Floats
) -> tuple[Floats, np.ndarray]:
    """Weights after the pulses of these samples, and which cells could take them in one jump."""
    zero = np.zeros_like(w)
    shift = c.get("reference", zero)
    mean, low, high, variance, widest, pulsed = w, w, w, zero, zero, zero != 0
    steady = zero == 0
    for number, up in samples:
        size = np.where(up, c["dwmin_up"], -c["dwmin_down"])
        slope = np.where(up, c.get("slope_up", zero), -c.get("slope_down", zero))
        offset = size + slope * shift if "reference" in c else size
        spread = F32(params["dw_min_std"]) * size
        total = terms(slope, number)
        both = total * fma(slope, total, F32(2))
        mean = fma(fma(slope, mean, offset), total, mean)
        variance = fma(
            both, fma(slope, variance, spread * spread / (F32(2) + slope)), variance
        )
        low, high, widest = (
            np.minimum(mean, low),
            np.maximum(mean, high),
            np.maximum(variance, widest),
        )
        pulsed = pulsed | (number > 0)
    for slope in (c.get("slope_up", zero), -c.get("slope_down", zero)):
        steady = steady & (slope > -1)
    reach = REACH * np.sqrt(widest)
    bottom = np.where(steady, c["min_bound"] - shift, NOWHERE)
    jumped = (low - reach > bottom) & (high + reach < c["max_bound"] - shift) & pulsed
    return np.where(jumped, fma(np.sqrt(np.maximum(variance, 0)), z, mean), w), jumped
