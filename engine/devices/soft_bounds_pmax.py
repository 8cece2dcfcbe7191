"""Soft bounds in terms of the curve that is measured: a range reached after so many pulses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from engine.devices._common import base_params
from engine.devices.base import Device, Param
from engine.devices.parts.linear import (
    LINEAR_CELLS,
    LINEAR_JUMP,
    LINEAR_JUMP_IF,
    LINEAR_PARAMS,
    LINEAR_STEP,
    SOFT_BOUNDS_CONSTRUCT,
    check_linear,
)


def _soft_bounds(values: dict[str, Any]) -> dict[str, Any]:
    """Step, asymmetry and bounds of the soft-bounds device with this curve (an asymptote beyond
    range_max)."""
    reached = -math.expm1(-values["p_max"] * values["alpha"])
    asymptote = (values["range_max"] - values["range_min"]) / reached
    bottom, top = values["range_min"], values["range_min"] + asymptote
    step, bias = asymptote * values["alpha"], 1.0 + 2.0 * bottom / asymptote
    if values["exact_curve"]:
        step = values["alpha"] * max(top, -bottom)
        bias = 1.0 + bottom / top if top > -bottom else -1.0 - top / bottom
    return {"w_min": bottom, "w_max": top, "dw_min": step, "up_down": bias}


def _check(values: dict[str, Any]) -> str | None:
    if values["range_min"] >= values["range_max"]:
        return f"range_min ({values['range_min']:g}) must be below range_max ({values['range_max']:g})"
    return check_linear(values)


_FOLLOWING = ("dw_min", "up_down", "w_min", "w_max")
_DEFAULTS = {
    "p_max": 1000.0,
    "alpha": 0.0005,
    "range_min": -1.0,
    "range_max": 1.0,
    "exact_curve": False,
}
_BASE = base_params(**_soft_bounds(_DEFAULTS))

SoftBoundsPmax = Device(
    name="soft_bounds_pmax",
    aihwkit="SoftBoundsPmaxDevice",
    about="Soft bounds given by the weight range that p_max up pulses run through and by the curvature of that curve.",
    formula="a pulse as in soft_bounds with w_min = range_min, w_max = range_min + B, dw_min = B alpha, "
    "up_down = 1 + 2 range_min / B, B = (range_max - range_min) / (1 - exp(-alpha p_max));  "
    "exact_curve: up w += alpha (w_max - w), down w -= alpha (w - w_min), so n up pulses lead from range_min to "
    "range_min + B (1 - exp(-alpha n))",
    source="Frascaroli et al., Sci. Rep. 8:7178 (2018), doi:10.1038/s41598-018-25376-x",
    params=_BASE
    | {
        k: replace(
            _BASE[k],
            meaning=_BASE[k].meaning + "; follows from the range, p_max and alpha",
        )
        for k in _FOLLOWING
    }
    | {
        "p_max": Param(
            1000.0,
            "pulses",
            "number of up pulses that leads from range_min to range_max",
            minimum=1,
        ),
        "alpha": Param(0.0005, "1/pulse", "curvature of the response", above=0),
        "range_min": Param(
            -1.0, "weight", "lower end of the range, the mean lower bound", maximum=0
        ),
        "range_max": Param(
            1.0,
            "weight",
            "weight reached after p_max up pulses from range_min",
            minimum=0,
        ),
        "exact_curve": Param(
            False,
            "",
            "steps give exactly this curve; if not, larger ones, as in aihwkit",
        ),
    }
    | LINEAR_PARAMS,
    cells=LINEAR_CELLS,
    construct=SOFT_BOUNDS_CONSTRUCT,
    step=LINEAR_STEP,
    jump=LINEAR_JUMP,
    jump_if=LINEAR_JUMP_IF,
    noise_scales=("dw_min_std",),
    derive=_soft_bounds,
    check=_check,
)
