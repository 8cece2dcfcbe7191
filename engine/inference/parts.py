"""Pieces that several noise models share: the polynomial of the programming noise, power-law drift,
1/f noise."""

from __future__ import annotations

from typing import Any

from engine.devices.base import Param

MOST_TERMS = 8

PROGRAM_PARAMS = {
    "prog_coeff": Param(
        [0.26348, 1.965, -1.1731],
        "uS",
        "programming noise: coefficients of 1, G_T / g_max, (G_T / g_max)^2, ...",
    ),
    "prog_coeff_g_max": Param(
        25.0,
        "uS",
        "g_max at which prog_coeff was measured; the noise scales with g_max",
        above=0,
    ),
    "prog_noise_scale": Param(1.0, "", "factor of the programming noise", minimum=0),
}
DRIFT_PARAMS = {
    "drift_scale": Param(1.0, "", "factor of the drift exponents", minimum=0),
    "t_0": Param(20.0, "s", "time between programming and the first read", above=0),
    "read_noise_scale": Param(1.0, "", "factor of the read noise", minimum=0),
    "t_read": Param(250e-9, "s", "width of the read pulse", above=0),
    "read_factor": Param(0.0088, "", "relative read noise at g_max", minimum=0),
    "read_exponent": Param(
        0.65, "", "the relative read noise falls with this power of G / g_max"
    ),
    "read_max": Param(0.2, "", "upper limit of the relative read noise", minimum=0),
}

PROGRAM_POLYNOMIAL = """
float sigma = polynomial(p.prog_coeff, (int)p.prog_coeff_n, g / g_max) * (g_max / p.prog_coeff_g_max);
g = max_(g + p.prog_noise_scale * sigma * noise(), 0.0f);
"""
CLIPPED_NU = """
float level = log_(max_(g / g_max, 1e-7f));
float mean = clamp_(fma_(p.nu_mean_slope, level, p.nu_mean_offset), p.nu_mean_min, p.nu_mean_max);
float spread = clamp_(fma_(p.nu_std_slope, level, p.nu_std_offset), p.nu_std_min, p.nu_std_max);
c.nu = p.drift_scale * abs_(mean + spread * noise());
"""
FALLING_NOISE = """
float falls = exp_(p.read_exponent * log_(max_(g / g_max, 1e-30f)));
float relative = min_(p.read_factor / max_(falls, 1e-3f), p.read_max);
"""
AGE = {
    "log_age": "log_((t + p.t_0) / p.t_0)",
    "root": "sqrt_(max_(log_((t + p.t_0 + p.t_read) / (2.0f * p.t_read)), 0.0f))",
}
POWER_LAW = """
float drifted = g * exp_(-c.nu * m.log_age);
g = max_(drifted + p.read_noise_scale * drifted * relative * m.root * noise(), 0.0f);
"""


def check_terms(values: dict[str, Any]) -> str | None:
    """One line if the polynomial of the programming noise has more terms than the kernels take."""
    terms = len(values["prog_coeff"])
    return (
        f"prog_coeff takes at most {MOST_TERMS} numbers, not {terms}"
        if terms > MOST_TERMS
        else None
    )
