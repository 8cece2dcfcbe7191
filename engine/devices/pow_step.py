"""Power step: the size of a pulse is a power of the share of the weight range that is left."""

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device
from engine.devices.parts.power import (
    POWER_CELLS,
    POWER_CONSTRUCT,
    POWER_PARAMS,
    POWER_PROBE,
)

PowStep = Device(
    name="pow_step",
    aihwkit="PowStepDevice",
    about="The step is a power of the distance to the bound; exponent 1 gives soft bounds, 0 a constant step.",
    formula="up: w += D_up ((b_max - w) / R)^gamma_up (1 + dw_min_std xi);  "
    "down: w -= D_down ((w - b_min) / R)^gamma_down (1 + dw_min_std xi);  R = b_max - b_min",
    source="Frascaroli et al., Sci. Rep. 8:7178 (2018), doi:10.1038/s41598-018-25376-x",
    params=base_params() | POWER_PARAMS | WRITE_NOISE,
    cells=POWER_CELLS,
    construct=POWER_CONSTRUCT,
    step="""
float range = c.max_bound - c.min_bound;
float left = range > 0.0f ? (up ? c.max_bound - w : w - c.min_bound) / range : 0.0f;
float size = (up ? c.dwmin_up : -c.dwmin_down) * pow_(left, up ? c.gamma_up : c.gamma_down);
float moved = size * (1.0f + p.dw_min_std * noise());
w += left > 0.0f ? moved : 0.0f;
""",
    probe="middle",
    probe_direction="up",
    probe_values=POWER_PROBE,
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
