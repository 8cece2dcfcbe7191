"""Linear step: the size of a pulse falls linearly with the weight, without having to vanish at the
bound."""

from engine.devices._common import base_params
from engine.devices.base import Device, Param
from engine.devices.parts.linear import (
    LINEAR_CELLS,
    LINEAR_JUMP,
    LINEAR_JUMP_IF,
    LINEAR_PARAMS,
    LINEAR_STEP,
    check_linear,
)

LinearStep = Device(
    name="linear_step",
    aihwkit="LinearStepDevice",
    about="The step depends linearly on the weight: D (1 - gamma w / bound).",
    formula="up: w += (D_up + s_up w)(1 + dw_min_std xi), s_up = -gamma_up D_up / w_max;  down alike with w_min",
    source="Li et al., VLSI 2018, doi:10.1109/VLSIT.2018.8510648; Tang et al., IEDM 2018, "
    "doi:10.1109/IEDM.2018.8614551",
    params=base_params()
    | {
        "gamma_up": Param(
            0.0, "", "mean slope of the up step, in steps per upper bound"
        ),
        "gamma_down": Param(
            0.0, "", "mean slope of the down step, in steps per lower bound"
        ),
        "gamma_up_dtod": Param(
            0.05, "", "device-to-device spread of gamma_up (absolute)", minimum=0
        ),
        "gamma_down_dtod": Param(
            0.05, "", "device-to-device spread of gamma_down (absolute)", minimum=0
        ),
        "allow_increasing": Param(
            False, "", "slopes may have either sign; otherwise their magnitude counts"
        ),
        "mean_bound_reference": Param(
            True, "", "slopes refer to the mean bounds, not to those of the cell"
        ),
    }
    | LINEAR_PARAMS,
    cells=LINEAR_CELLS,
    construct="""
float top = p.mean_bound_reference ? p.w_max : c.max_bound;
float bottom = p.mean_bound_reference ? p.w_min : c.min_bound;
float up_zero = p.reverse_up ? bottom - p.reverse_offset : top;
float down_zero = p.reverse_down ? top + p.reverse_offset : bottom;
float gamma_up = p.gamma_up + p.gamma_up_dtod * noise();
float gamma_down = p.gamma_down + p.gamma_down_dtod * noise();
if (!p.allow_increasing) { gamma_up = abs_(gamma_up); gamma_down = abs_(gamma_down); }
c.slope_up = up_zero == 0.0f ? 0.0f : -gamma_up * c.dwmin_up / up_zero;
c.slope_down = down_zero == 0.0f ? 0.0f : -gamma_down * c.dwmin_down / down_zero;
""",
    step=LINEAR_STEP,
    jump=LINEAR_JUMP,
    jump_if=LINEAR_JUMP_IF,
    noise_scales=("dw_min_std",),
    check=check_linear,
)
