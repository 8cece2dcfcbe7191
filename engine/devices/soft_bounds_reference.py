"""Soft bounds against a reference: the stored weight is the raw weight of a soft-bounds cell minus
a constant."""

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device, Param
from engine.devices.parts.linear import LINEAR_CELLS, LINEAR_JUMP_IF
from engine.devices.parts.reference import (
    REFERENCE_BOUNDS,
    REFERENCE_CELLS,
    REFERENCE_PARAMS,
    REFERENCE_PROBE,
)

SoftBoundsReference = Device(
    name="soft_bounds_reference",
    aihwkit="SoftBoundsReferenceDevice",
    about="Soft bounds act on the raw weight; the weight seen is the raw one minus a reference that differs by cell.",
    formula="v = w + r;  up: v += D_up (1 - v / b_max + dw_min_std xi);  "
    "down: v -= D_down (1 - v / b_min + dw_min_std xi);  "
    "mult_noise: (1 - v / b)(1 + dw_min_std xi);  v in [b_min, b_max];  w = v - r",
    source="Gong, Rasch et al., IEDM 2022, doi:10.1109/IEDM45625.2022.10019569",
    params=base_params()
    | {
        "mult_noise": Param(
            False,
            "",
            "pulse noise scales with the step at this weight, not with the step at 0",
        ),
        "slope_up_dtod": Param(
            0.0, "of the slope", "spread of the up slope at a fixed step", minimum=0
        ),
        "slope_down_dtod": Param(
            0.0, "of the slope", "spread of the down slope at a fixed step", minimum=0
        ),
    }
    | REFERENCE_PARAMS
    | WRITE_NOISE,
    cells=LINEAR_CELLS | REFERENCE_CELLS,
    construct="""
bool inside = c.min_bound < 0.0f && c.max_bound > 0.0f;
float narrow_up = abs_(1.0f + p.slope_up_dtod * noise());
float narrow_down = abs_(1.0f + p.slope_down_dtod * noise());
if (inside) { c.max_bound = c.max_bound / narrow_up; c.min_bound = c.min_bound / narrow_down; }
c.slope_up = c.max_bound > 0.0f ? -c.dwmin_up / c.max_bound : 0.0f;
c.slope_down = c.min_bound < 0.0f ? -c.dwmin_down / c.min_bound : 0.0f;
float closing = c.slope_down - c.slope_up;
float point = p.subtract_symmetry_point && inside && closing != 0.0f ? (c.dwmin_up - c.dwmin_down) / closing : 0.0f;
c.reference = p.reference_mean + p.reference_std * noise() + point;
c.reset_bias = c.reset_bias + point;
""",
    step="""
float size = up ? c.dwmin_up : c.dwmin_down;
float tilt = (up ? c.slope_up : c.slope_down) * (w + c.reference);
float spread = p.dw_min_std * noise();
float change = p.mult_noise ? (size + tilt) * (1.0f + spread) : tilt + size * (1.0f + spread);
w += up ? change : -change;
""",
    jump="""
slope = up ? c.slope_up : -c.slope_down;
float size = up ? c.dwmin_up : -c.dwmin_down;
shift = size + slope * c.reference;
spread = p.dw_min_std * size;
""",
    jump_if=LINEAR_JUMP_IF,
    bounds=REFERENCE_BOUNDS,
    probe_values=REFERENCE_PROBE,
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
