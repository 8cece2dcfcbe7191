"""Soft bounds: the step falls linearly with the weight and vanishes at the bound of the cell."""

from engine.devices._common import base_params
from engine.devices._linear import LINEAR_CELLS, LINEAR_PARAMS, LINEAR_STEP, check_linear
from engine.devices.base import Device

SoftBounds = Device(
    name="soft_bounds",
    aihwkit="SoftBoundsDevice",
    about="The step shrinks linearly to zero at the bound of the cell, so the weight saturates exponentially.",
    formula="up: w += D_up (1 - w / b_max)(1 + dw_min_std xi);  down: w -= D_down (1 - w / b_min)(1 + dw_min_std xi)",
    source="Fusi & Abbott, Nat. Neurosci. 10:485 (2007), doi:10.1038/nn1859; Frascaroli et al., Sci. Rep. 8:7178 (2018)",
    params=base_params() | LINEAR_PARAMS,
    cells=LINEAR_CELLS,
    construct="""
float up_zero = p.reverse_up ? c.min_bound - p.reverse_offset : c.max_bound;
float down_zero = p.reverse_down ? c.max_bound + p.reverse_offset : c.min_bound;
c.slope_up = up_zero == 0.0f ? 0.0f : -c.dwmin_up / up_zero;
c.slope_down = down_zero == 0.0f ? 0.0f : -c.dwmin_down / down_zero;
""",
    step=LINEAR_STEP,
    noise_scales=("dw_min_std",),
    check=check_linear,
)
