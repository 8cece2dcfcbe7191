"""What devices with a reference cell share: the stored weight is the raw weight minus the
reference."""

from __future__ import annotations

from engine.devices.base import Param

REFERENCE_PARAMS = {
    "reference_mean": Param(
        0.0, "weight", "mean of the reference that is subtracted from the raw weight"
    ),
    "reference_std": Param(
        0.0, "weight", "device-to-device spread of the reference", minimum=0
    ),
    "subtract_symmetry_point": Param(
        False,
        "",
        "the raw weight where up and down steps are equal joins the reference",
    ),
}

REFERENCE_CELLS = {
    "reference": "reference of the cell; bounds hold for weight + reference",
    "reset_bias": "weight after a reset, the symmetry point included",
}

# Clipping against shifted bounds leaves a weight inside them untouched, bit for bit.
REFERENCE_BOUNDS = (
    "w = clamp_(w, c.min_bound - c.reference, c.max_bound - c.reference);"
)

REFERENCE_PROBE = {
    "reference_mean": 0.0,
    "reference_std": 0.0,
    "subtract_symmetry_point": False,
}
