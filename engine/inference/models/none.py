"""Exact conductances: nothing is lost in programming, nothing drifts. For tests of everything
else."""

from engine.inference.base import NoiseModel

Exact = NoiseModel(
    name="none",
    about="Exact conductances that stay as they are.",
    formula="program: G = G_T;  drift: G;  read: G",
    params={},
)
