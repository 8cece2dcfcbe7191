"""A plain model: the same noise and the same distribution of drift exponents at every
conductance."""

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import AGE, check_terms

StateIndependent = NoiseModel(
    name="state_independent",
    aihwkit="StateIndependentNoiseModel",
    about="Noise and drift that do not depend on the conductance, to see what state dependence matters for.",
    formula="program: G = max(G_T + s_p sigma_p(G_T) xi, 0);  drift: G ((t + t_0) / t_0)^-nu, nu = s_d |nu_mean + "
    "nu_std xi|;  read: + s_r (G_D / g_max) sqrt(ln((t + t_0 + t_r) / 2 t_r)) xi uS",
    source="as in aihwkit",
    params={
        "prog_coeff": Param(
            [0.2],
            "uS",
            "programming noise: coefficients of 1, G_T / g_max, (G_T / g_max)^2, ...",
        ),
        "prog_noise_scale": Param(
            1.0, "", "factor of the programming noise", minimum=0
        ),
        "nu_mean": Param(0.1, "", "mean drift exponent"),
        "nu_std": Param(0.05, "", "spread of the drift exponent", minimum=0),
        "drift_scale": Param(1.0, "", "factor of the drift exponents", minimum=0),
        "t_0": Param(20.0, "s", "time between programming and the first read", above=0),
        "read_noise_scale": Param(
            1.0, "uS", "read noise at g_max, times the root of the logarithm", minimum=0
        ),
        "t_read": Param(250e-9, "s", "width of the read pulse", above=0),
    },
    kept={"nu": "drift exponent"},
    moment=AGE,
    program="""
c.nu = p.drift_scale * abs_(p.nu_mean + p.nu_std * noise());
float sigma = polynomial(p.prog_coeff, (int)p.prog_coeff_n, g / g_max);
g = max_(g + p.prog_noise_scale * sigma * noise(), 0.0f);
""",
    drift="""
float drifted = g * exp_(-c.nu * m.log_age);
g = max_(drifted + p.read_noise_scale * (drifted / g_max) * m.root * noise(), 0.0f);
""",
    check=check_terms,
)
