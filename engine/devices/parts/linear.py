"""What the linear-step devices share: a step that is a straight line over the weight."""

from __future__ import annotations

from typing import Any

from engine.devices._common import WRITE_NOISE, check_bounds
from engine.devices.base import Param

LINEAR_PARAMS = {
    "mult_noise": Param(
        True,
        "",
        "pulse noise scales with the step at this weight, not with the step at 0",
    ),
    "reverse_up": Param(False, "", "the up step vanishes at the lower bound instead"),
    "reverse_down": Param(
        False, "", "the down step vanishes at the upper bound instead"
    ),
    "reverse_offset": Param(
        0.01, "weight", "distance of that zero beyond the bound", minimum=0
    ),
} | WRITE_NOISE

LINEAR_CELLS = {
    "slope_up": "change of the up step with the weight",
    "slope_down": "change of the down step with the weight",
}

LINEAR_STEP = """
float size = up ? c.dwmin_up : c.dwmin_down;
float tilt = (up ? c.slope_up : c.slope_down) * w;
float spread = p.dw_min_std * noise();
float change = p.mult_noise ? (size + tilt) * (1.0f + spread) : tilt + size * (1.0f + spread);
w += up ? change : -change;
"""

# With additive noise alone: multiplied with the step, it would depend on the weight.
LINEAR_JUMP_IF = "p.mult_noise == 0.0f"
LINEAR_JUMP = """
slope = up ? c.slope_up : -c.slope_down;
shift = up ? c.dwmin_up : -c.dwmin_down;
spread = p.dw_min_std * shift;
"""

SOFT_BOUNDS_CONSTRUCT = """
float up_zero = p.reverse_up ? c.min_bound - p.reverse_offset : c.max_bound;
float down_zero = p.reverse_down ? c.max_bound + p.reverse_offset : c.min_bound;
c.slope_up = up_zero == 0.0f ? 0.0f : -c.dwmin_up / up_zero;
c.slope_down = down_zero == 0.0f ? 0.0f : -c.dwmin_down / down_zero;
"""


def check_linear(values: dict[str, Any]) -> str | None:
    """One line if reversal meets additive noise, or the bounds leave no range."""
    if not values["mult_noise"] and (values["reverse_up"] or values["reverse_down"]):
        return "reverse_up and reverse_down need mult_noise=true"
    return check_bounds(values)
