"""Phase-change memory: the state-dependent model of a million mushroom cells, for any range of
conductances."""

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import (
    AGE,
    CLIPPED_NU,
    DRIFT_PARAMS,
    FALLING_NOISE,
    POWER_LAW,
    PROGRAM_PARAMS,
    PROGRAM_POLYNOMIAL,
    check_terms,
)

Pcm = NoiseModel(
    name="pcm",
    aihwkit="PCMLikeNoiseModel",
    about="Programming noise, drift and 1/f read noise that depend on the conductance, as measured on PCM.",
    formula="program: G = max(G_T + s_p sigma_p(G_T) xi, 0);  drift: G ((t + t_0) / t_0)^-nu, nu = s_d |mu(G_T) + "
    "sigma(G_T) xi|;  read: + s_r G_D Q(G) sqrt(ln((t + t_0 + t_r) / 2 t_r)) xi, Q = min(q (G / g_max)^-e, q_max)",
    source="Joshi et al., Nat. Commun. 11:2473 (2020), doi:10.1038/s41467-020-16108-9; "
    "Nandakumar et al., IEEE ICECS 2019, doi:10.1109/ICECS46596.2019.8964852",
    params=PROGRAM_PARAMS
    | DRIFT_PARAMS
    | {
        "nu_mean_slope": Param(
            -0.0155, "", "mean drift exponent: slope over ln(G_T / g_max)"
        ),
        "nu_mean_offset": Param(
            0.0244, "", "mean drift exponent at g_max, before its limits"
        ),
        "nu_mean_min": Param(
            0.049, "", "lower limit of the mean drift exponent", minimum=0
        ),
        "nu_mean_max": Param(
            0.1, "", "upper limit of the mean drift exponent", minimum=0
        ),
        "nu_std_slope": Param(
            -0.0125, "", "spread of the drift exponent: slope over ln(G_T / g_max)"
        ),
        "nu_std_offset": Param(
            -0.0059, "", "spread of the drift exponent at g_max, before its limits"
        ),
        "nu_std_min": Param(0.008, "", "lower limit of the spread", minimum=0),
        "nu_std_max": Param(0.045, "", "upper limit of the spread", minimum=0),
    },
    kept={"nu": "drift exponent"},
    moment=AGE,
    program=CLIPPED_NU + PROGRAM_POLYNOMIAL,
    drift=FALLING_NOISE + POWER_LAW,
    check=check_terms,
)
