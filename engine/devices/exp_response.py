"""Exponential response: the step is 1 at weight 0 and falls exponentially to 0 at the bound that it
moves towards."""

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device, Param

ExpResponse = Device(
    name="exp_response",
    about="The step is an exponential of the distance to the bound, scaled to 1 at weight 0 and to 0 at the bound.",
    formula="q(v) = (exp(gamma v) - 1) / (exp(gamma) - 1);  up: w += D_up q(1 - w / b_max)(1 + dw_min_std xi);  "
    "down: w -= D_down q(1 - w / b_min)(1 + dw_min_std xi)",
    source="Wu et al., NeurIPS 2025, doi:10.48550/arXiv.2502.06309, eq. 145",
    params=base_params()
    | {
        "gamma": Param(
            1.0, "", "shape: the larger, the steeper the response", above=0, maximum=20
        )
    }
    | WRITE_NOISE,
    step="""
float bound = up ? c.max_bound : c.min_bound;
float left = bound != 0.0f ? 1.0f - w / bound : 0.0f;
float factor = (exp_(p.gamma * left) - 1.0f) / (exp_(p.gamma) - 1.0f);
float size = (up ? c.dwmin_up : -c.dwmin_down) * factor;
float moved = size * (1.0f + p.dw_min_std * noise());
w += left > 0.0f ? moved : 0.0f;
""",
    noise_scales=("dw_min_std",),
    check=check_bounds,
)
