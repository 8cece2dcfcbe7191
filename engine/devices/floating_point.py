"""Floating-point device: the exact update, and weights that may decay, diffuse and drift."""

from engine.devices._common import BASE
from engine.devices.base import Device

FloatingPoint = Device(
    name="floating_point",
    aihwkit="FloatingPointDevice",
    about="Takes the exact outer-product update without pulses or bounds; decay, diffusion and drift may act on it.",
    formula="W -= lr D^T X",
    source="Rasch et al., AICAS 2021, doi:10.1109/AICAS51828.2021.9458494",
    params={
        k: BASE[k]
        for k in (
            "construction_seed",
            "diffusion",
            "lifetime",
            "drift_nu",
            "drift_t_0",
            "drift_reset_tol",
        )
    },
    bounds="",
    ideal=True,
)
