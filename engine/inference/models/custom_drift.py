"""Phase-change memory with drift exponents of one's own, given at nodes of the conductance."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import (
    AGE,
    DRIFT_PARAMS,
    FALLING_NOISE,
    POWER_LAW,
    PROGRAM_PARAMS,
    PROGRAM_POLYNOMIAL,
    check_terms,
)


def _check(values: dict[str, Any]) -> str | None:
    nodes = values["nu_g"]
    lengths = {len(values[name]) for name in ("nu_g", "nu_mean", "nu_std")}
    if len(lengths) != 1 or len(nodes) < 2:
        return "nu_g, nu_mean and nu_std need the same number of nodes, at least 2"
    if any(b <= a for a, b in pairwise(nodes)):
        return f"nu_g must rise, not {nodes}"
    return check_terms(values)


CustomDrift = NoiseModel(
    name="custom_drift",
    aihwkit="CustomDriftPCMLikeNoiseModel",
    about="The noise of PCM, with mean and spread of the drift exponent interpolated between given conductances.",
    formula="as pcm, with nu = s_d |mu(G_T) + sigma(G_T) xi|, mu and sigma polygons through the nodes nu_g",
    source="Joshi et al., Nat. Commun. 11:2473 (2020), doi:10.1038/s41467-020-16108-9, for the noise; "
    "the exponents are the user's",
    params=PROGRAM_PARAMS
    | DRIFT_PARAMS
    | {
        "nu_g": Param([0.0, 25.0], "uS", "conductances of the nodes, rising"),
        "nu_mean": Param([0.06, 0.06], "", "mean drift exponent at the nodes"),
        "nu_std": Param([0.01, 0.01], "", "spread of the drift exponent at the nodes"),
    },
    kept={"nu": "drift exponent"},
    moment=AGE,
    program="""
float mean = polygon(p.nu_g, p.nu_mean, (int)p.nu_g_n, g);
float spread = polygon(p.nu_g, p.nu_std, (int)p.nu_g_n, g);
c.nu = p.drift_scale * abs_(mean + spread * noise());
"""
    + PROGRAM_POLYNOMIAL,
    drift=FALLING_NOISE + POWER_LAW,
    check=_check,
)
