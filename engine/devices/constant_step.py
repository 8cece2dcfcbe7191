"""Constant step: every pulse has the same expected size, whatever the weight."""

from engine.devices._common import base_params, check_bounds
from engine.devices.base import Device

ConstantStep = Device(
    name="constant_step",
    aihwkit="ConstantStepDevice",
    about="Every pulse moves the weight by the same expected step until a hard bound is reached.",
    formula="up: w += D_up (1 + dw_min_std xi);  down: w -= D_down (1 + dw_min_std xi)",
    source="Gokmen & Vlasov, Front. Neurosci. 10:333 (2016), doi:10.3389/fnins.2016.00333",
    params=base_params(),
    step="""
float size = (up ? c.dwmin_up : -c.dwmin_down);
w += size * (1.0f + p.dw_min_std * noise());
""",
    jump="""
shift = up ? c.dwmin_up : -c.dwmin_down;
slope = 0.0f;
spread = p.dw_min_std * shift;
""",
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
