"""Phase-change memory of the Hermes chip: one or two devices of a unit cell for each sign of a
weight."""

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import (
    AGE,
    POWER_LAW,
    PROGRAM_PARAMS,
    PROGRAM_POLYNOMIAL,
    check_terms,
)

Hermes = NoiseModel(
    name="hermes",
    aihwkit="HermesNoiseModel",
    about="PCM of a 64-core chip: programming noise, drift and read noise as measured with one or two devices.",
    formula="as pcm; mu, sigma and Q logarithmic in a = G / g_max (and clipped) below a limit, polynomials above it",
    source="Le Gallo et al., Nat. Electron. 6:680 (2023), doi:10.1038/s41928-023-01010-1; fitted in aihwkit",
    params=PROGRAM_PARAMS
    | {
        "prog_coeff": Param(
            [0.16603222, 4.71806468, -8.48101252, 4.68961419],
            "uS",
            "programming noise: coefficients of 1, G_T / g_max, (G_T / g_max)^2, ...",
        ),
        "prog_coeff_g_max": Param(
            20.7,
            "uS",
            "g_max at which it was measured; the noise scales with g_max",
            above=0,
        ),
        "num_devices": Param(
            2,
            "devices",
            "devices for each sign of a weight, 1 or 2",
            minimum=1,
            maximum=2,
        ),
        "drift_scale": Param(1.0, "", "factor of the drift exponents", minimum=0),
        "t_0": Param(
            300.0, "s", "time between programming and the first read", above=0
        ),
        "read_noise_scale": Param(1.0, "", "factor of the read noise", minimum=0),
        "t_read": Param(512e-9, "s", "width of the read pulse", above=0),
    },
    kept={"nu": "drift exponent"},
    moment=AGE,
    converter={"g_max": 20.7},
    program="""
float a = max_(g / g_max, 1e-7f), level = log_(a);
float mean = a < 0.0945f ? clamp_(-0.0387f * level - 0.0182f, 0.072f, 0.13f) : (-0.0436f * a - 0.0126f) * a + 0.0736f;
float one = a < 0.3039f ? clamp_(-0.0120f * level - 0.0023f, 0.0124f, 0.04f) : (-0.0165f * a + 0.0116f) * a + 0.0104f;
float two = a < 0.3055f ? clamp_(-0.0117f * level - 0.0057f, 0.0091f, 0.04f) : (-0.0118f * a + 0.0093f) * a + 0.0073f;
c.nu = p.drift_scale * abs_(mean + (p.num_devices > 1.0f ? two : one) * noise());
"""
    + PROGRAM_POLYNOMIAL,
    drift="""
float a = max_(g / g_max, 1e-7f), level = log_(a);
float one_above = ((0.0664f * a - 0.1352f) * a + 0.0768f) * a + 0.0088f;
float two_above = ((0.0069f * a - 0.0280f) * a + 0.0211f) * a + 0.0123f;
float one = a < 0.1591f ? clamp_(-0.0078f * level + 0.0038f, 0.0179f, 0.04f) : one_above;
float two = a < 0.16f ? clamp_(-0.0117f * level - 0.0069f, 0.015f, 0.04f) : two_above;
float relative = p.num_devices > 1.0f ? two : one;
"""
    + POWER_LAW,
    check=check_terms,
)
