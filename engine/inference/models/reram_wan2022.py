"""Filamentary ReRAM of a compute-in-memory chip: relaxation of the conductance after 1 s, a day,
and two days."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.devices.base import Param
from engine.inference.base import NoiseModel
from engine.inference.parts import MOST_TERMS


def _check(values: dict[str, Any]) -> str | None:
    times, coefficients = values["coeff_times"], values["coeff"]
    if times[0] <= 0 or any(b <= a for a, b in pairwise(times)):
        return f"coeff_times must be positive and rise, not {times}"
    if len(coefficients) % len(times):
        return f"coeff must hold as many numbers for each of the {len(times)} times, not {len(coefficients)} in all"
    if len(coefficients) > MOST_TERMS * len(times):
        return f"coeff takes at most {MOST_TERMS} numbers for each time"
    return None


ReRamWan2022 = NoiseModel(
    name="reram_wan2022",
    aihwkit="ReRamWan2022NoiseModel",
    about="Conductances spread around their target as they relax: a polynomial for each time that was measured.",
    formula="program: G = max(G_T + s sigma(G_T; first time) xi, 0);  read: max(G_T + s sigma(G_T; t) xi, 0), sigma = "
    "sum c_k (G_T / g_max)^k, linear in ln t between the times that were measured, constant beyond them",
    source="Wan et al., Nature 608:504 (2022), doi:10.1038/s41586-022-04992-8; fitted in aihwkit at 40 uS",
    params={
        "coeff_times": Param(
            [1.0, 86400.0, 172800.0], "s", "times at which the spread was measured"
        ),
        "coeff": Param(
            [
                *(0.348, 16.03, -43.853, 45.393, -16.815),
                *(0.701, 22.086, -50.773, 47.095, -16.458),
                *(0.782, 20.274, -43.507, 37.062, -11.934),
            ],
            "uS",
            "spread: coefficients of 1, G_T / g_max, ... for each of the times in turn",
        ),
        "coeff_g_max": Param(
            0.0,
            "uS",
            "g_max at which coeff was measured, with which the spread scales; 0 = it does not",
            minimum=0,
        ),
        "noise_scale": Param(1.0, "", "factor of the spread", minimum=0),
    },
    kept={"target": "target conductance"},
    program="""
c.target = g;
int degree = (int)p.coeff_n / (int)p.coeff_times_n;
float ratio = p.coeff_g_max > 0.0f ? g_max / p.coeff_g_max : 1.0f;
g = max_(g + p.noise_scale * ratio * polynomial(p.coeff, degree, g / g_max) * noise(), 0.0f);
""",
    drift="""
int degree = (int)p.coeff_n / (int)p.coeff_times_n;
float level = c.target / g_max, sigma = polynomial(p.coeff, degree, level);
float late = log_(max_(t, 1e-30f)), last = sigma;
for (int k = 1; k < (int)p.coeff_times_n; ++k) {
    float before = log_(p.coeff_times[k - 1]), share = (late - before) / (log_(p.coeff_times[k]) - before);
    float next = polynomial(p.coeff + k * degree, degree, level);
    sigma = share > 0.0f ? fma_(min_(share, 1.0f), next - last, last) : sigma;
    last = next;
}
float ratio = p.coeff_g_max > 0.0f ? g_max / p.coeff_g_max : 1.0f;
g = max_(c.target + p.noise_scale * ratio * sigma * noise(), 0.0f);
""",
    check=_check,
)
