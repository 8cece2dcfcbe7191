"""One pulse on every cell, for each built-in device model; `z` is the standard normal number of the
pulse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.naive import maths as m
from tests.naive.construct import Cells
from tests.naive.maths import F32, Floats

ONE, ZERO = F32(1), F32(0)
Step = Callable[[Floats, np.ndarray, Mapping[str, Any], Cells, Floats], Floats]


def pulse(
    device: str,
    w: Floats,
    up: np.ndarray,
    values: Mapping[str, Any],
    c: Cells,
    z: Floats,
) -> Floats:
    """The weights after one pulse in direction `up` (a boolean for each cell) and the clip that
    follows it."""
    p = {
        k: F32(v) if not isinstance(v, list) else np.array(v, F32)
        for k, v in values.items()
    }
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        moved = STEPS[device](w, up, p, c, z)
    shift = c.get("reference", ZERO)
    bounded = m.clamp(moved, c["min_bound"] - shift, c["max_bound"] - shift)
    if device == "pow_step_reference":
        return np.where(c["min_bound"] < c["max_bound"], bounded, w)
    return bounded


def _signed(up: np.ndarray, c: Cells) -> Floats:
    return np.where(up, c["dwmin_up"], -c["dwmin_down"])


def constant(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    return w + _signed(up, c) * (ONE + p["dw_min_std"] * z)


def linear(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    size = np.where(up, c["dwmin_up"], c["dwmin_down"])
    tilt = np.where(up, c["slope_up"], c["slope_down"]) * (
        w + c["reference"] if "reference" in c else w
    )
    spread = p["dw_min_std"] * z
    change = (
        (size + tilt) * (ONE + spread)
        if p["mult_noise"]
        else tilt + size * (ONE + spread)
    )
    return w + np.where(up, change, -change)


def exponential(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    extent = c["max_bound"] - c["min_bound"]
    place = F32(2) * p["a"] * w / extent + p["b"]
    bend = m.exp(
        np.where(
            extent > 0, np.where(up, p["gamma_up"], -p["gamma_down"]) * place, ZERO
        )
    )
    change = _signed(up, c) * np.maximum(
        ONE - np.where(up, p["A_up"], p["A_down"]) * bend, ZERO
    )
    spread = p["dw_min_std"] * (
        np.abs(change) + p["dw_min_std_add"] + p["dw_min_std_slope"] * np.abs(w)
    )
    return np.where(extent > 0, w + (change + spread * z), w)


def response(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    bound = np.where(up, c["max_bound"], c["min_bound"])
    left = np.where(bound != 0, ONE - w / bound, ZERO)
    factor = (m.exp(p["gamma"] * left) - ONE) / (m.exp(p["gamma"]) - ONE)
    return np.where(
        left > 0, w + _signed(up, c) * factor * (ONE + p["dw_min_std"] * z), w
    )


def power(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    extent = c["max_bound"] - c["min_bound"]
    raw = w + c["reference"] if "reference" in c else w
    left = np.where(
        extent > 0,
        np.where(up, c["max_bound"] - raw, raw - c["min_bound"]) / extent,
        ZERO,
    )
    size = _signed(up, c) * m.power(
        np.maximum(left, ZERO), np.where(up, c["gamma_up"], c["gamma_down"])
    )
    moved = np.where(left > 0, w + size * (ONE + p["dw_min_std"] * z), w)
    return (
        np.where(left < 0, c["min_bound"] - c["reference"], moved)
        if p.get("outside_falls")
        else moved
    )


def _between(w: Floats, c: Cells, *tables: Floats) -> list[Floats]:
    """Every table at the place of each weight between the bounds of its cell."""
    intervals = F32(len(tables[0]) - 1)
    extent = c["max_bound"] - c["min_bound"]
    place = np.where(
        extent > 0, np.maximum((w - c["min_bound"]) / extent * intervals, ZERO), ZERO
    )
    node = np.maximum(np.minimum(np.floor(place), intervals - ONE), ZERO)
    share = np.minimum(place - node, ONE)
    left = node.astype(int)
    right = left + (intervals > 0)
    return [(ONE - share) * table[left] + share * table[right] for table in tables]


def piecewise(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    factor = np.where(up, *_between(w, c, p["piecewise_up"], p["piecewise_down"]))
    return w + _signed(up, c) * factor * (ONE + p["dw_min_std"] * z)


def table(
    w: Floats, up: np.ndarray, p: Mapping[str, Any], c: Cells, z: Floats
) -> Floats:
    mean = np.where(up, *_between(w, c, p["table_up"], p["table_down"]))
    spread = (
        np.where(up, *_between(w, c, p["table_up_std"], p["table_down_std"]))
        + p["dw_min_std"] * mean
    )
    return w + _signed(up, c) * (mean + spread * z)


STEPS: dict[str, Step] = {
    "constant_step": constant,
    "linear_step": linear,
    "soft_bounds": linear,
    "soft_bounds_pmax": linear,
    "soft_bounds_reference": linear,
    "exp_step": exponential,
    "exp_response": response,
    "pow_step": power,
    "pow_step_reference": power,
    "piecewise_step": piecewise,
    "table_step": table,
}
