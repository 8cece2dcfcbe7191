"""The constants of every cell, drawn in the order of base_device.cuh and of the snippets of the
devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.naive import maths as m
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats

Cells = dict[str, Floats]
ONE, ZERO = F32(1), F32(0)


@dataclass
class Drawing:
    """Draws normals for all cells, one after another."""

    source: Source
    cells: np.ndarray
    next: int = field(default=0)

    def normal(self) -> Floats:
        self.next += 1
        return self.source.normal(Stream.CONSTRUCT, self.cells, self.next - 1)


def construct(
    device: str, params: Mapping[str, Any], shape: tuple[int, int], key: tuple[int, int]
) -> Cells:
    """Constants of an array of `shape` (rows, columns), each of shape [rows * columns]."""
    p = {
        k: F32(v) if not isinstance(v, list) else np.array(v, F32)
        for k, v in params.items()
    }
    draw = Drawing(Source(key), np.arange(shape[0] * shape[1], dtype=np.uint32))
    c = _bounds_and_steps(p, draw)
    _make_consistent(p, c)
    _corrupt(p, c, draw)
    if p["perfect_bias"]:
        last = draw.cells % shape[1] == shape[1] - 1
        for name, value in (("dwmin_up", p["dw_min"]), ("dwmin_down", p["dw_min"])):
            c[name] = np.where(last, value, c[name])
        c["max_bound"] = np.where(last, F32(100) * p["w_max"], c["max_bound"])
        c["min_bound"] = np.where(last, F32(100) * p["w_min"], c["min_bound"])
    _slow(p, c, draw)
    OWN.get(device, lambda p, c, draw: None)(p, c, draw)
    return c


def _bounds_and_steps(p: Mapping[str, Any], draw: Drawing) -> Cells:
    c = {"max_bound": p["w_max"] * (ONE + p["w_max_dtod"] * draw.normal())}
    c["min_bound"] = p["w_min"] * (ONE + p["w_min_dtod"] * draw.normal())
    spread = p["dw_min_dtod"] * draw.normal()
    gain = m.exp(spread) if p["dw_min_dtod_log_normal"] else ONE + spread
    tilt = p["up_down_dtod"] * draw.normal()
    c["dwmin_up"] = (gain + min(p["up_down"], ZERO) + tilt) * p["dw_min"]
    c["dwmin_down"] = (gain - max(p["up_down"], ZERO) - tilt) * p["dw_min"]
    return c


def _make_consistent(p: Mapping[str, Any], c: Cells) -> None:
    low, high = c["min_bound"], c["max_bound"]
    if p["enforce_consistency"]:
        c["dwmin_up"], c["dwmin_down"] = np.abs(c["dwmin_up"]), np.abs(c["dwmin_down"])
        c["max_bound"], c["min_bound"] = (
            np.abs(np.maximum(low, high)),
            -np.abs(np.minimum(low, high)),
        )
    else:
        middle = F32(0.5) * (low + high)
        c["max_bound"], c["min_bound"] = (
            np.where(low > high, middle, v) for v in (high, low)
        )


def _corrupt(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    stuck = p["corrupt_devices_prob"] > draw.source.uniform(
        Stream.CONSTRUCT_UNIFORM, draw.cells, 0
    )
    reach = abs(p["corrupt_devices_range"])
    low, high = np.maximum(c["min_bound"], -reach), np.minimum(c["max_bound"], reach)
    value = low + (high - low) * draw.source.uniform(
        Stream.CONSTRUCT_UNIFORM, draw.cells, 1
    )
    for name, there in (
        ("max_bound", value),
        ("min_bound", value),
        ("dwmin_up", ZERO),
        ("dwmin_down", ZERO),
    ):
        c[name] = np.where(stuck, there, c[name])


def _slow(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    c["diffusion_rate"] = np.abs(
        p["diffusion"] * (ONE + p["diffusion_dtod"] * draw.normal())
    )
    c["reset_bias"] = p["reset"] + p["reset_dtod"] * draw.normal()
    life = p["lifetime"] * (ONE + p["lifetime_dtod"] * draw.normal())
    with np.errstate(divide="ignore"):
        decay = np.where(life > 1, ONE - ONE / life, ZERO)
    c["decay_scale"] = decay if p["lifetime"] > 0 else np.ones_like(life)
    c["drift_nu"] = p["drift_nu"] * (ONE + p["drift_nu_dtod"] * draw.normal())


def _slope(step: Floats, zero: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(zero == 0, ZERO, -step / zero)


def _linear(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    top = p["w_max"] if p["mean_bound_reference"] else c["max_bound"]
    bottom = p["w_min"] if p["mean_bound_reference"] else c["min_bound"]
    up_zero = bottom - p["reverse_offset"] if p["reverse_up"] else top
    down_zero = top + p["reverse_offset"] if p["reverse_down"] else bottom
    gamma_up = p["gamma_up"] + p["gamma_up_dtod"] * draw.normal()
    gamma_down = p["gamma_down"] + p["gamma_down_dtod"] * draw.normal()
    if not p["allow_increasing"]:
        gamma_up, gamma_down = np.abs(gamma_up), np.abs(gamma_down)
    with np.errstate(divide="ignore", invalid="ignore"):
        c["slope_up"] = np.where(
            up_zero == 0, ZERO, -gamma_up * c["dwmin_up"] / up_zero
        )
        c["slope_down"] = np.where(
            down_zero == 0, ZERO, -gamma_down * c["dwmin_down"] / down_zero
        )


def _soft_bounds(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    up_zero = (
        c["min_bound"] - p["reverse_offset"] if p["reverse_up"] else c["max_bound"]
    )
    down_zero = (
        c["max_bound"] + p["reverse_offset"] if p["reverse_down"] else c["min_bound"]
    )
    c["slope_up"], c["slope_down"] = (
        _slope(c["dwmin_up"], up_zero),
        _slope(c["dwmin_down"], down_zero),
    )


def _soft_bounds_reference(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    inside = (c["min_bound"] < 0) & (c["max_bound"] > 0)
    up, down = (
        np.abs(ONE + p[name] * draw.normal())
        for name in ("slope_up_dtod", "slope_down_dtod")
    )
    c["max_bound"] = np.where(inside, c["max_bound"] / up, c["max_bound"])
    c["min_bound"] = np.where(inside, c["min_bound"] / down, c["min_bound"])
    c["slope_up"] = np.where(
        c["max_bound"] > 0, _slope(c["dwmin_up"], c["max_bound"]), ZERO
    )
    c["slope_down"] = np.where(
        c["min_bound"] < 0, _slope(c["dwmin_down"], c["min_bound"]), ZERO
    )
    closing = c["slope_down"] - c["slope_up"]
    with np.errstate(divide="ignore", invalid="ignore"):
        point = np.where(
            inside & (closing != 0), (c["dwmin_up"] - c["dwmin_down"]) / closing, ZERO
        )
    point = point if p["subtract_symmetry_point"] else np.zeros_like(point)
    c["reference"] = p["reference_mean"] + p["reference_std"] * draw.normal() + point
    c["reset_bias"] = c["reset_bias"] + point


def _power(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    common = ONE + p["pow_gamma_dtod"] * draw.normal()
    tilt = p["pow_up_down_dtod"] * draw.normal()
    up = (common + min(p["pow_up_down"], ZERO) + tilt) * p["pow_gamma"]
    down = (common - max(p["pow_up_down"], ZERO) - tilt) * p["pow_gamma"]
    c["gamma_up"], c["gamma_down"] = (
        np.abs(v) if p["enforce_consistency"] else v for v in (up, down)
    )


def _power_reference(p: Mapping[str, Any], c: Cells, draw: Drawing) -> None:
    _power(p, c, draw)
    c["reference"] = p["reference_mean"] + p["reference_std"] * draw.normal()
    point = np.zeros_like(c["reference"])
    if p["subtract_symmetry_point"]:
        found = (
            _iterate(c, int(p["n_estimation_steps"]))
            if p["n_estimation_steps"] > 0
            else _bisect(c)
        )
        point = np.where((c["min_bound"] < 0) & (c["max_bound"] > 0), found, point)
    c["reference"], c["reset_bias"] = c["reference"] + point, c["reset_bias"] + point


def _rise_and_fall(c: Cells, point: Floats) -> tuple[Floats, Floats]:
    extent = c["max_bound"] - c["min_bound"]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.maximum((c["max_bound"] - point) / extent, ZERO)
        below = np.maximum((point - c["min_bound"]) / extent, ZERO)
    rise = np.where(above > 0, c["dwmin_up"] * m.power(above, c["gamma_up"]), ZERO)
    return rise, np.where(
        below > 0, c["dwmin_down"] * m.power(below, c["gamma_down"]), ZERO
    )


def _bisect(c: Cells) -> Floats:
    low, high, point = c["min_bound"], c["max_bound"], np.zeros_like(c["min_bound"])
    for _ in range(30):
        rise, fall = _rise_and_fall(c, point)
        low, high = (
            np.where(rise > fall, point, low),
            np.where(rise > fall, high, point),
        )
        point = F32(0.5) * (low + high)
    return point


def _iterate(c: Cells, pairs: int) -> Floats:
    point = np.zeros_like(c["min_bound"])
    for _ in range(pairs):
        rise, fall = _rise_and_fall(c, point)
        point = point + rise - fall
    return point


OWN: dict[str, Callable[[Mapping[str, Any], Cells, Drawing], None]] = {
    "linear_step": _linear,
    "soft_bounds": _soft_bounds,
    "soft_bounds_pmax": _soft_bounds,
    "soft_bounds_reference": _soft_bounds_reference,
    "pow_step": _power,
    "pow_step_reference": _power_reference,
}
