"""Piecewise step: the size of a pulse is interpolated between nodes spread evenly over the weight
range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device, Param
from engine.devices.parts.nodes import place_on


def _middle_node(values: Mapping[str, Any]) -> float:
    """The mean weight of node n/2 (rounded down), where the step counts as the granularity."""
    nodes = len(values["piecewise_up"])
    share = (nodes // 2) / (nodes - 1) if nodes > 1 else 0.5
    return values["w_min"] + share * (values["w_max"] - values["w_min"])


def _check(values: dict[str, Any]) -> str | None:
    up, down = len(values["piecewise_up"]), len(values["piecewise_down"])
    if up != down:
        return f"piecewise_up and piecewise_down need the same number of nodes, not {up} and {down}"
    return check_bounds(values)


PiecewiseStep = Device(
    name="piecewise_step",
    aihwkit="PiecewiseStepDevice",
    about="The step is a polygon over the weight, with nodes at equal distances between the bounds of the cell.",
    formula="up: w += D_up f_up(w)(1 + dw_min_std xi);  down: w -= D_down f_down(w)(1 + dw_min_std xi);  "
    "f linear between the nodes piecewise_up, piecewise_down from b_min to b_max",
    source="Rasch et al., AICAS 2021, doi:10.1109/AICAS51828.2021.9458494",
    params=base_params()
    | {
        "piecewise_up": Param(
            [1.0], "of dw_min", "up step at nodes from the lower to the upper bound"
        ),
        "piecewise_down": Param(
            [1.0], "of dw_min", "down step at nodes from the lower to the upper bound"
        ),
    }
    | WRITE_NOISE,
    step=place_on("piecewise_up")
    + """
float before = up ? p.piecewise_up[left] : p.piecewise_down[left];
float after = up ? p.piecewise_up[right] : p.piecewise_down[right];
float factor = (1.0f - share) * before + share * after;
w += (up ? c.dwmin_up : -c.dwmin_down) * factor * (1.0f + p.dw_min_std * noise());
""",
    probe=_middle_node,
    probe_direction="up",
    probe_values={"up_down": 0.0},
    noise_scales=("dw_min_std",),
    check=_check,
)
