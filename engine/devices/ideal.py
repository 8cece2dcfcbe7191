"""Ideal device: the exact update, as in digital training, behind a periphery that need not be
ideal."""

from engine.devices._common import BASE
from engine.devices.base import Device

Ideal = Device(
    name="ideal",
    aihwkit="IdealDevice",
    about="Takes the exact outer-product update without pulses or bounds; only diffusion, decay and reset act on it.",
    formula="W -= lr D^T X",
    source="Rasch et al., AICAS 2021, doi:10.1109/AICAS51828.2021.9458494",
    params={
        k: BASE[k] for k in ("construction_seed", "diffusion", "lifetime", "reset_std")
    },
    bounds="",
    ideal=True,
)
