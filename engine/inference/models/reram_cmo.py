"""Analogue CMO/HfOx ReRAM: programmed in a closed loop, then a slow loss with ln t and random
telegraph noise."""

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import check_terms

ReRamCmo = NoiseModel(
    name="reram_cmo",
    aihwkit="ReRamCMONoiseModel",
    about="One device a weight; programming error within an acceptance range, decay with the logarithm of time.",
    formula="program: G = G_T + s_p (c_0 + c_1 G_T) xi;  drift: G_D = G + s_d (m ln t + (a ln t + b) xi);  read: "
    "clip(G_D + s_r K log10(G_D) sqrt(ln((t + t_r) / 2 t_r)) xi, g_min, g_max);  nothing at t = 0",
    source="Falcone et al., All-in-one analog AI hardware: on-chip training and inference with conductive-metal-oxide/"
    "HfOx ReRAM devices, arXiv:2502.04524 (2025); coefficients as fitted in aihwkit",
    params={
        "prog_coeff": Param(
            [0.00081107, 0.00106879],
            "uS, 1",
            "programming noise: constant, and factor of G_T",
        ),
        "prog_noise_scale": Param(
            1.0, "", "factor of the programming noise", minimum=0
        ),
        "decay_mean": Param(
            -0.08900206, "uS", "mean change of a conductance over ln(t / s)"
        ),
        "decay_std_slope": Param(
            0.04201137, "uS", "spread of that change over ln(t / s)"
        ),
        "decay_std_offset": Param(
            0.41183342, "uS", "spread of that change at 1 s", minimum=0
        ),
        "drift_scale": Param(1.0, "", "factor of the change", minimum=0),
        "read_factor": Param(
            0.0277316483, "uS", "read noise over log10(G / uS)", minimum=0
        ),
        "t_read": Param(1e-6, "s", "width of the read pulse", above=0),
        "read_noise_scale": Param(1.0, "", "factor of the read noise", minimum=0),
    },
    converter={"kind": "single_device", "g_max": 88.199997, "g_min": 9.0},
    moment={
        "level": "log_(max_(t, 1e-30f))",
        "spread": "max_(fma_(p.decay_std_slope, m.level, p.decay_std_offset), 0.0f)",
        "root": "sqrt_(max_(log_((t + p.t_read) / (2.0f * p.t_read)), 0.0f))",
    },
    program="""
g = g + p.prog_noise_scale * polynomial(p.prog_coeff, (int)p.prog_coeff_n, g) * noise();
""",
    drift="""
float drifted = g + p.drift_scale * (p.decay_mean * m.level + m.spread * noise());
float sigma = p.read_factor * log10_(max_(drifted, 1.0f)) * m.root;
float later = clamp_(drifted + p.read_noise_scale * sigma * noise(), g_min, g_max);
g = t > 0.0f ? later : g;
""",
    check=check_terms,
)
