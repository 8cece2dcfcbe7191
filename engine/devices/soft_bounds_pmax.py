"""Soft bounds in terms of the curve that is measured: a range reached after so many pulses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from engine.devices._common import base_params
from engine.devices.base import Device, Param
from engine.devices.parts.linear import LINEAR_CELLS, LINEAR_PARAMS, LINEAR_STEP, SOFT_BOUNDS_CONSTRUCT, check_linear


def _soft_bounds(values: dict[str, Any]) -> dict[str, Any]:
    """Step, asymmetry and bounds of the soft-bounds device with this curve (an asymptote beyond range_max)."""
    reached = -math.expm1(-values["p_max"] * values["alpha"])
    asymptote = (values["range_max"] - values["range_min"]) / reached
    return {
        "w_min": values["range_min"],
        "w_max": values["range_min"] + asymptote,
        "dw_min": asymptote * values["alpha"],
        "up_down": 1.0 + 2.0 * values["range_min"] / asymptote,
    }


def _check(values: dict[str, Any]) -> str | None:
    if values["range_min"] >= values["range_max"]:
        return f"range_min ({values['range_min']:g}) must be below range_max ({values['range_max']:g})"
    return check_linear(values)


_FOLLOWING = ("dw_min", "up_down", "w_min", "w_max")
_BASE = base_params(**_soft_bounds({"p_max": 1000, "alpha": 0.0005, "range_min": -1.0, "range_max": 1.0}))

SoftBoundsPmax = Device(
    name="soft_bounds_pmax",
    aihwkit="SoftBoundsPmaxDevice",
    about="Soft bounds given by the weight range that p_max up pulses run through and by the curvature of that curve.",
    formula="up, after n pulses from range_min: w = range_min + B (1 - exp(-alpha n)), "
    "B = (range_max - range_min) / (1 - exp(-alpha p_max));  a pulse as in soft_bounds, w_max = range_min + B, "
    "dw_min = B alpha, up_down = 1 + 2 range_min / B",
    source="Frascaroli et al., Sci. Rep. 8:7178 (2018), doi:10.1038/s41598-018-25376-x",
    params=_BASE
    | {k: replace(_BASE[k], meaning=_BASE[k].meaning + "; follows from the range, p_max and alpha") for k in _FOLLOWING}
    | {
        "p_max": Param(1000.0, "pulses", "number of up pulses that leads from range_min to range_max", minimum=1),
        "alpha": Param(0.0005, "1/pulse", "curvature of the response", above=0),
        "range_min": Param(-1.0, "weight", "lower end of the range, the mean lower bound", maximum=0),
        "range_max": Param(1.0, "weight", "weight reached after p_max up pulses from range_min", minimum=0),
    }
    | LINEAR_PARAMS,
    cells=LINEAR_CELLS,
    construct=SOFT_BOUNDS_CONSTRUCT,
    step=LINEAR_STEP,
    noise_scales=("dw_min_std",),
    derive=_soft_bounds,
    check=_check,
)
