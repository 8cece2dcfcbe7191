"""Power step against a reference: the stored weight is the raw weight of a power-step cell minus a
constant."""

from engine.devices._common import base_params, check_bounds
from engine.devices.base import Device, Param
from engine.devices.parts.power import (
    POWER_CELLS,
    POWER_CONSTRUCT,
    POWER_PARAMS,
    POWER_PROBE,
)
from engine.devices.parts.reference import (
    REFERENCE_CELLS,
    REFERENCE_PARAMS,
    REFERENCE_PROBE,
)

# Bisection for the weight of equal steps: 30 halvings reach the last bit of a float. Power steps
# pull back from either bound, so there is a zero in between; a fixed number of pulse pairs instead
# stops short where steps are small.
SYMMETRY_POINT = """
c.reference = p.reference_mean + p.reference_std * noise();
float range = c.max_bound - c.min_bound;
bool usable = p.subtract_symmetry_point && c.min_bound < 0.0f && c.max_bound > 0.0f;
int pairs = usable ? (int)max_(p.n_estimation_steps, 0.0f) : 0;
int halvings = usable && pairs == 0 ? 30 : 0;
float low = c.min_bound, high = c.max_bound, point = 0.0f;
for (int k = 0; k < pairs + halvings; ++k) {
    float above = max_((c.max_bound - point) / range, 0.0f);
    float below = max_((point - c.min_bound) / range, 0.0f);
    float rise = above > 0.0f ? c.dwmin_up * pow_(above, c.gamma_up) : 0.0f;
    float fall = below > 0.0f ? c.dwmin_down * pow_(below, c.gamma_down) : 0.0f;
    if (halvings) { low = rise > fall ? point : low; high = rise > fall ? high : point; }
    point = halvings ? 0.5f * (low + high) : point + rise - fall;
}
c.reference = c.reference + point;
c.reset_bias = c.reset_bias + point;
"""
# A stuck cell keeps its weight, which was set to the bound of the weight: that of the raw weight
# may lie elsewhere.
BOUNDS = "w = c.min_bound < c.max_bound ? clamp_(w, c.min_bound - c.reference, c.max_bound - c.reference) : w;"

PowStepReference = Device(
    name="pow_step_reference",
    aihwkit="PowStepReferenceDevice",
    about="A power step acts on the raw weight; the weight seen is the raw one minus a reference that differs by cell.",
    formula="v = w + r;  up: v += D_up ((b_max - v) / R)^gamma_up (1 + dw_min_std xi);  "
    "down: v -= D_down ((v - b_min) / R)^gamma_down (1 + dw_min_std xi);  v in [b_min, b_max], but stuck if R = 0;  "
    "w = v - r",
    source="Gong, Rasch et al., IEDM 2022, doi:10.1109/IEDM45625.2022.10019569",
    params=base_params()
    | POWER_PARAMS
    | REFERENCE_PARAMS
    | {
        "n_estimation_steps": Param(
            -1, "pulse pairs", "this many estimate the symmetry point; <= 0: exact"
        ),
        "outside_falls": Param(
            False, "", "raw weights beyond a bound go to the lower one (aihwkit 1.1.0)"
        ),
    },
    cells=POWER_CELLS | REFERENCE_CELLS,
    construct=POWER_CONSTRUCT + SYMMETRY_POINT,
    step="""
float range = c.max_bound - c.min_bound;
float raw = w + c.reference;
float left = range > 0.0f ? (up ? c.max_bound - raw : raw - c.min_bound) / range : 0.0f;
float size = (up ? c.dwmin_up : -c.dwmin_down) * pow_(left, up ? c.gamma_up : c.gamma_down);
float moved = size * (1.0f + p.dw_min_std * noise());
w += left > 0.0f ? moved : 0.0f;
w = p.outside_falls && left < 0.0f ? c.min_bound - c.reference : w;
""",
    bounds=BOUNDS,
    probe="middle",
    probe_direction="up",
    probe_values=POWER_PROBE | REFERENCE_PROBE,
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
