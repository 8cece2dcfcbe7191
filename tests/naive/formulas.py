"""The noise-free step of each model as its documentation prints it, in double precision: the change
of the weight.

`c` holds b_max, b_min, the steps D_up, D_down and, where a model has them, exponents; r is the
reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Values = Mapping[str, Any]


def _constant(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    return np.full_like(w, 1.0 if up else -1.0) * (
        c["dwmin_up"] if up else c["dwmin_down"]
    )


def _linear(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    if up:
        return c["dwmin_up"] * (1 - p["gamma_up"] * w / p["w_max"])
    return -c["dwmin_down"] * (1 - p["gamma_down"] * w / p["w_min"])


def _soft_bounds(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    v = w + c.get("reference", 0.0)
    return (
        c["dwmin_up"] * (1 - v / c["max_bound"])
        if up
        else -c["dwmin_down"] * (1 - v / c["min_bound"])
    )


def _pmax(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    """With exact_curve the distance to the bound shrinks by alpha; without it steps are larger by B
    / w_max and 2."""
    span = (p["range_max"] - p["range_min"]) / (1 - np.exp(-p["p_max"] * p["alpha"]))
    top, bottom = p["range_min"] + span, p["range_min"]
    if up:
        return p["alpha"] * (top - w) * (1 if p["exact_curve"] else span / top)
    return -p["alpha"] * (w - bottom) * (1 if p["exact_curve"] else 2)


def _exponential(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    z = 2 * p["a"] * w / (c["max_bound"] - c["min_bound"]) + p["b"]
    if up:
        return c["dwmin_up"] * np.maximum(1 - p["A_up"] * np.exp(p["gamma_up"] * z), 0)
    return -c["dwmin_down"] * np.maximum(
        1 - p["A_down"] * np.exp(-p["gamma_down"] * z), 0
    )


def _response(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    step, bound = (
        (c["dwmin_up"], c["max_bound"]) if up else (-c["dwmin_down"], c["min_bound"])
    )
    return step * np.expm1(p["gamma"] * (1 - w / bound)) / np.expm1(p["gamma"])


def _power(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    v, span = w + c.get("reference", 0.0), c["max_bound"] - c["min_bound"]
    if up:
        return c["dwmin_up"] * ((c["max_bound"] - v) / span) ** c["gamma_up"]
    return -c["dwmin_down"] * ((v - c["min_bound"]) / span) ** c["gamma_down"]


def _polygon(w: np.ndarray, c: Values, nodes: list[float]) -> np.ndarray:
    places = np.linspace(0, 1, len(nodes)) if len(nodes) > 1 else [0.0]
    return np.interp(
        (w - c["min_bound"]) / (c["max_bound"] - c["min_bound"]), places, nodes
    )


def _piecewise(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    return _constant(w, up, p, c) * _polygon(
        w, c, p["piecewise_up" if up else "piecewise_down"]
    )


def _table(w: np.ndarray, up: bool, p: Values, c: Values) -> np.ndarray:
    return _constant(w, up, p, c) * _polygon(
        w, c, p["table_up" if up else "table_down"]
    )


FORMULAS: dict[str, Callable[[np.ndarray, bool, Values, Values], np.ndarray]] = {
    "constant_step": _constant,
    "linear_step": _linear,
    "soft_bounds": _soft_bounds,
    "soft_bounds_pmax": _pmax,
    "soft_bounds_reference": _soft_bounds,
    "exp_step": _exponential,
    "exp_response": _response,
    "pow_step": _power,
    "pow_step_reference": _power,
    "piecewise_step": _piecewise,
    "table_step": _table,
}
