"""Pulses in groups: the course of a weight under them, and one normal number for all where no bound is near."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.naive.construct import Cells
from tests.naive.maths import F32, Floats, fma
from tests.naive.pulses import Ints

JUMP, REACH = 16, F32(6.7)
LINEAR = ("linear_step", "soft_bounds", "soft_bounds_pmax", "soft_bounds_reference")


class Waiting:
    """Pulses of each cell that are not applied yet: their number, and a bit for each (1 = up)."""

    def __init__(self, size: int) -> None:
        self.number, self.bits = np.zeros(size, np.uint32), np.zeros(size, np.int64)

    def add(self, live: np.ndarray, up: np.ndarray) -> None:
        self.bits |= (live & up).astype(np.int64) << self.number
        self.number += live.astype(np.uint32)

    def take(self, cells: np.ndarray) -> tuple[np.ndarray, Ints]:
        """Number and bits of these cells, which wait no longer."""
        number, bits = self.number[cells], self.bits[cells]
        self.number[cells], self.bits[cells] = 0, 0
        return number, bits


def can_jump(device: str, params: Mapping[str, Any]) -> bool:
    """Whether a pulse adds noise that does not depend on the weight."""
    additive = device == "constant_step" or (device in LINEAR and not params["mult_noise"])
    return additive and params["dw_min_std"] != 0


def land(
    w: Floats, c: Cells, params: Mapping[str, Any], pulses: tuple[np.ndarray, Ints], z: Floats
) -> tuple[Floats, np.ndarray]:
    """Weights after the pulses (number and bits), and which cells could take them in one jump."""
    number, bits = pulses
    zero = np.zeros_like(w)
    shift = c.get("reference", zero)
    mean, low, high, variance, widest = w, w, w, zero, zero
    for n in range(int(number.max(initial=0))):
        live, up = number > n, (bits >> n) & 1 != 0
        size = np.where(up, c["dwmin_up"], -c["dwmin_down"])
        slope = np.where(up, c.get("slope_up", zero), -c.get("slope_down", zero))
        offset = size + slope * shift if "reference" in c else size
        spread = F32(params["dw_min_std"]) * size
        mean = np.where(live, mean + fma(slope, mean, offset), mean)
        variance = np.where(live, fma(variance, (F32(1) + slope) * (F32(1) + slope), spread * spread), variance)
        low, high, widest = np.minimum(mean, low), np.maximum(mean, high), np.maximum(variance, widest)
    reach = REACH * np.sqrt(widest)
    free = (low - reach > c["min_bound"] - shift) & (high + reach < c["max_bound"] - shift)
    jumped = free & (number > 0)
    return np.where(jumped, fma(np.sqrt(variance), z, mean), w), jumped
