"""Soft bounds: the step falls linearly with the weight and vanishes at the bound of the cell."""

from engine.devices._common import base_params
from engine.devices.base import Device
from engine.devices.parts.linear import (
    LINEAR_CELLS,
    LINEAR_JUMP,
    LINEAR_JUMP_IF,
    LINEAR_PARAMS,
    LINEAR_STEP,
    SOFT_BOUNDS_CONSTRUCT,
    check_linear,
)

SoftBounds = Device(
    name="soft_bounds",
    aihwkit="SoftBoundsDevice",
    about="The step shrinks linearly to zero at the bound of the cell, so the weight saturates exponentially.",
    formula="up: w += D_up (1 - w / b_max)(1 + dw_min_std xi);  down: w -= D_down (1 - w / b_min)(1 + dw_min_std xi)",
    source="Fusi & Abbott, Nat. Neurosci. 10:485 (2007), doi:10.1038/nn1859; "
    "Frascaroli et al., Sci. Rep. 8:7178 (2018), doi:10.1038/s41598-018-25376-x",
    params=base_params() | LINEAR_PARAMS,
    cells=LINEAR_CELLS,
    construct=SOFT_BOUNDS_CONSTRUCT,
    step=LINEAR_STEP,
    jump=LINEAR_JUMP,
    jump_if=LINEAR_JUMP_IF,
    noise_scales=("dw_min_std",),
    check=check_linear,
)
