"""Training configurations of a set-up as tile specifications: device, algorithm, pulsed update;
perfect periphery."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from engine.algorithms.parts.transfer import Read
from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, TileSpec, Update
from tests.golden import quirks
from tests.golden.cells import GROUPS, cells_spec
from tests.golden.setups import NotBuilt, Object, device_spec, settings

TRANSFERS = {
    "TransferCompound": "tiki_taka",
    "BufferedTransferCompound": "ttv2",
    "ChoppedTransferCompound": "chopped_ttv2",
    "DynamicTransferCompound": "agad",
}
# Read by the builder itself, or without effect on the results.
TAKEN = {
    "class",
    "construction_seed",
    "unit_cell_devices",
    "transfer_forward",
    "transfer_update",
    "no_self_transfer",
}
# There the release also transfers the last array to itself, unless told not to.
SELF_TRANSFERS = {"chopped_ttv2", "agad"}
RENAMED = {"experimental_correct_accumulation": "correct_accumulation"}
# What a member of the family does not have, with the value at which it means nothing.
NEUTRAL = {
    "n_reads_per_transfer": 1,
    "random_selection": False,
    "transfer_every_vec": [],
    "transfer_lr_vec": [],
}
# Inputs of a transfer are one full line, read with both managements off: these parameters of its
# periphery are idle.
IDLE_READS = {"class", "mv_type", "noise_management", "bound_management", "nm_thres", "max_bm_factor", "max_bm_res",
              "bm_test_negative_bound", "inp_asymmetry", "inp_sto_round"}  # fmt: skip


def tile_spec(setup: dict[str, Any]) -> TileSpec:
    """The tile of a training set-up. Raises NotBuilt for an algorithm that is unknown here."""
    device, given = setup["device"], quirks.update(setup["update"])
    update, perfect = settings(Update, given), IO(is_perfect=True)
    if quirks.bypassed(device, given):
        learns = quirks.learner(device, given)
        cells = device_spec(learns) if learns else DeviceSpec("ideal")
        return TileSpec(device=cells, forward=perfect, backward=perfect, update=update)
    if "unit_cell_devices" not in device and setup["config_class"] == "SingleRPUConfig":
        return TileSpec(
            device=device_spec(device), forward=perfect, backward=perfect, update=update
        )
    if device["class"] in GROUPS:
        return TileSpec(device=cells_spec(device), forward=perfect, backward=perfect, update=update)
    if device["class"] == "MixedPrecisionCompound":
        values = {k: v for k, v in device.items() if k not in (*TAKEN, "device")} | {
            "transfer_first": True
        }
        mixed = AlgorithmSpec(
            "mixed_precision", quirks.mixed_precision(values, setup["sizes"]["out"])
        )
        algorithm_device = cells_spec(device["device"])
        return TileSpec(
            device=algorithm_device,
            algorithm=mixed,
            forward=perfect,
            backward=perfect,
            update=update,
        )
    if device["class"] not in TRANSFERS:
        raise NotBuilt(f"training with {device['class']}")
    fast, *slow = (device_spec(part) for part in device["unit_cell_devices"])
    algorithm = AlgorithmSpec(
        TRANSFERS[device["class"]], _transfer(device, len(slow) + 1), {"fast": fast}
    )
    return TileSpec(
        device=slow[0], algorithm=algorithm, forward=perfect, backward=perfect, update=update
    )


def _transfer(device: Object, arrays: int) -> dict[str, Any]:
    """The settings of a transfer algorithm. Before `scale_fast_lr` existed, the fast learning rate
    was absolute."""
    from engine.algorithms import find_algorithm

    if not device.get("no_self_transfer", True) and TRANSFERS[device["class"]] in SELF_TRANSFERS:
        raise NotBuilt(f"{device['class']} with no_self_transfer=false")
    known = {f.name for f in fields(find_algorithm(TRANSFERS[device["class"]]).Settings)}
    values = {RENAMED.get(k, k): v for k, v in quirks.transfer(device).items() if k not in TAKEN}
    idle = [k for k in values if k not in known and values[k] == NEUTRAL.get(k, object())]
    unknown = [k for k in values if k not in known and k not in idle]
    if unknown:
        raise NotBuilt(f"{device['class']} parameters {', '.join(unknown)}")
    values = {k: v for k, v in values.items() if k in known} | {
        "scale_fast_lr": device.get("scale_fast_lr", False)
    }
    if "gamma_with_choppers" in known:
        values["gamma_with_choppers"] = False
    if "arrays" in known:
        values["arrays"] = arrays
    update = vars(settings(Update, quirks.update(device["transfer_update"], writes=True)))
    return values | {
        "transfer_forward": _read(device["transfer_forward"]),
        "transfer_update": update,
    }


def _read(setup: Object) -> dict[str, Any]:
    """A transfer's periphery. Raises NotBuilt for a parameter that would change what one line reads
    as."""
    known = {f.name for f in fields(Read)}
    usual = {f.name: f.default for f in fields(IO)}
    for key, value in setup.items():
        if (
            key not in known
            and key not in IDLE_READS
            and value != usual.get(key, value)
            and not setup["is_perfect"]
        ):
            raise NotBuilt(f"transfer_forward parameter {key}={value}")
    return {key: value for key, value in setup.items() if key in known}
