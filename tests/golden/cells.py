"""Cells of several devices of a set-up as the device specifications of this engine."""

from __future__ import annotations

from typing import Any

from engine.tile.settings import IO, DeviceSpec, Update
from tests.golden import quirks
from tests.golden.setups import NotBuilt, Object, device_spec, settings

GROUPS = {"VectorUnitCell": "vector", "ReferenceUnitCell": "reference_pair",
          "OneSidedUnitCell": "one_sided", "DifferenceUnitCell": "one_sided"}  # fmt: skip
POLICIES = {
    "All": "all",
    "SingleFixed": "fixed",
    "SingleSequential": "sequential",
    "SingleRandom": "random",
}
REFRESH = ("refresh_every", "units_in_mbatch", "refresh_upper_thres", "refresh_lower_thres")
# `copy_inverted` mirrors the constants of the first device; the figures do not tell it from a draw
# of its own.
TAKEN = {"class", "copy_inverted", "construction_seed", "unit_cell_devices", "update_policy", "first_update_idx",
         "gamma_vec", "refresh_forward", "refresh_update", *REFRESH}  # fmt: skip


def cells_spec(setup: Object) -> DeviceSpec:
    """A single device, or a group with the devices of its cells. Raises NotBuilt for what this
    engine leaves out."""
    if setup["class"] not in GROUPS:
        return device_spec(setup)
    model = GROUPS[setup["class"]]
    unknown = [k for k in setup if k not in TAKEN]
    if unknown:
        raise NotBuilt(f"{setup['class']} parameters {', '.join(unknown)}")
    found = [device_spec(part) for part in setup["unit_cell_devices"]]
    if model == "one_sided":
        # The reference takes the first device twice, whatever the second one is.
        found = found[:1]
    elif model == "reference_pair":
        found = found[:2]
    names = [chr(ord("a") + k) for k in range(len(found))]
    return DeviceSpec(model, _parameters(model, setup), dict(zip(names, found, strict=True)))


def _parameters(model: str, setup: Object) -> dict[str, Any]:
    if model == "vector":
        policy = POLICIES[setup["update_policy"]]
        return {
            "policy": policy,
            "first": setup["first_update_idx"],
            "gamma_vec": list(setup["gamma_vec"]),
        }
    if model == "reference_pair":
        return {}
    rewrite = quirks.update(setup["refresh_update"])
    periphery = {
        "refresh_forward": (IO, setup["refresh_forward"]),
        "refresh_update": (Update, rewrite),
    }
    return {k: setup[k] for k in REFRESH} | {k: vars(settings(*v)) for k, v in periphery.items()}
