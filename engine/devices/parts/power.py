"""What the power-step devices share: exponents of a cell, and a step that is a power of the room
left."""

from __future__ import annotations

from engine.devices.base import Param

POWER_PARAMS = {
    "pow_gamma": Param(
        1.0, "", "mean exponent of the step over the share of the range that is left"
    ),
    "pow_gamma_dtod": Param(
        0.1, "of pow_gamma", "device-to-device spread of the exponent", minimum=0
    ),
    "pow_up_down": Param(
        0.0,
        "of pow_gamma",
        "asymmetry: > 0 lowers the down exponent only, < 0 the up one",
    ),
    "pow_up_down_dtod": Param(
        0.0, "of pow_gamma", "spread of the asymmetry (up +r, down -r)", minimum=0
    ),
}

POWER_CELLS = {
    "gamma_up": "exponent of the up step",
    "gamma_down": "exponent of the down step",
}

POWER_CONSTRUCT = """
float common = 1.0f + p.pow_gamma_dtod * noise();
float tilt = p.pow_up_down_dtod * noise();
float gamma_up = (common + min_(p.pow_up_down, 0.0f) + tilt) * p.pow_gamma;
float gamma_down = (common - max_(p.pow_up_down, 0.0f) - tilt) * p.pow_gamma;
c.gamma_up = p.enforce_consistency ? abs_(gamma_up) : gamma_up;
c.gamma_down = p.enforce_consistency ? abs_(gamma_down) : gamma_down;
"""

# The granularity counts neither asymmetry: it is the step of the common exponent in the middle of
# the range.
POWER_PROBE = {"up_down": 0.0, "pow_up_down": 0.0}
