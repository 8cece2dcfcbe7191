"""Exponential step: the size of a pulse falls exponentially as the weight nears the bound."""

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device, Param

ExpStep = Device(
    name="exp_step",
    aihwkit="ExpStepDevice",
    about="The step shrinks exponentially with the weight; pulse noise may have parts that do not scale with the step.",
    formula="z = 2 a w / (b_max - b_min) + b;  up: w += D_up max(1 - A_up exp(gamma_up z), 0)(1 + dw_min_std xi);  "
    "down: w -= D_down max(1 - A_down exp(-gamma_down z), 0)(1 + dw_min_std xi);  "
    "noise amplitude dw_min_std (|step| + dw_min_std_add + dw_min_std_slope |w|)",
    source="Gong et al., Nat. Commun. 9:2102 (2018), doi:10.1038/s41467-018-04485-1",
    params=base_params()
    | {
        "A_up": Param(0.00081, "", "weight of the exponential in the up step"),
        "A_down": Param(0.36833, "", "weight of the exponential in the down step"),
        "gamma_up": Param(12.44625, "", "rate of the exponential in the up step"),
        "gamma_down": Param(12.78785, "", "rate of the exponential in the down step"),
        "a": Param(0.244, "", "stretch of the weight range in the exponent"),
        "b": Param(0.2425, "", "shift of the weight in the exponent"),
        "dw_min_std_add": Param(
            0.0,
            "weight",
            "pulse noise that is the same at every weight, times dw_min_std",
        ),
        "dw_min_std_slope": Param(
            0.0,
            "of |weight|",
            "pulse noise that grows with the weight, times dw_min_std",
        ),
    }
    | WRITE_NOISE,
    step="""
float range = c.max_bound - c.min_bound;
float place = 2.0f * p.a * w / range + p.b;
float rate = up ? p.gamma_up : -p.gamma_down;
float factor = max_(1.0f - (up ? p.A_up : p.A_down) * exp_(rate * place), 0.0f);
float change = (up ? c.dwmin_up : -c.dwmin_down) * factor;
float spread = p.dw_min_std * (abs_(change) + p.dw_min_std_add + p.dw_min_std_slope * abs_(w));
float moved = change + spread * noise();
w += range > 0.0f ? moved : 0.0f;
""",
    probe_direction="down",
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
