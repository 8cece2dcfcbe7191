"""Options that make this engine follow what the released aihwkit computes, where its own default
is what was meant (docs/quirks.md); and settings that the release never looks at."""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]
DRAWN = ("Stochastic", "StochasticCompressed", "MeanCount")
# Settings of a transfer that a member of the family has and does not use.
UNUSED = {
    "BufferedTransferCompound": ("with_reset_prob",),
    "ChoppedTransferCompound": ("with_reset_prob", "thres_scale"),
    "DynamicTransferCompound": (
        "with_reset_prob",
        "thres_scale",
        "out_chop_prob",
        "no_buffer",
    ),
}
NEVER = 10**9


def device(model: str, values: Values) -> Values:
    """A device whose rare cells fall where the release lets them fall."""
    changed = dict(values)
    if model == "pow_step_reference":
        changed["outside_falls"] = True
    # The release counts a negative mean reset value as 0.
    if changed.get("reset", 0) < 0:
        changed["reset"] = 0.0
    return changed


def periphery(values: Values) -> Values:
    """Bound management, gradients and asymmetry as the compiled tiles compute them."""
    changed = values | {"mask_clipped_gradient": True}
    if not changed.get("bm_test_negative_bound", True):
        changed["bm_negative_hit_clears"] = True
    if changed.get("out_asymmetry", 0) < 0:
        changed["out_asymmetry"] = 0.0
    return changed


def input_range(values: Values) -> Values:
    """Gradients of a compiled tile with an input range."""
    return values | {"gradient_over_range": True, "clipped_per_input": True}


def transfer(kind: str, values: Values, written: Values) -> Values:
    """A transfer that never happens, and choppers that switch as often as they can."""
    changed = dict(values)
    if kind == "DynamicTransferCompound":
        # Without a probability, choppers switch as often as they can; a share of 0 is as good as
        # none.
        if changed["in_chop_prob"] == 0 and not changed["in_chop_random"]:
            changed["in_chop_prob"] = 1.0
        changed["tail_weightening"] = changed["tail_weightening"] or 1e-30
    if changed["transfer_every"] == 0 or without_pulses(written):
        changed |= {"transfer_every": 1.0, "transfer_lr": 0.0}
    if kind in ("ChoppedTransferCompound", "DynamicTransferCompound"):
        changed["gamma_with_choppers"] = False
    return changed


def mixed_precision(values: Values) -> Values:
    """Transfers at the first sample of the next mini-batch, or never where nothing is written."""
    changed = values | {"transfer_first": True}
    bins = changed["n_x_bins"], changed["n_d_bins"]
    if 0 in (changed["transfer_every"], changed["n_rows_per_transfer"]) or 1 in bins:
        changed |= {"transfer_every": NEVER, "n_rows_per_transfer": -1}
        changed |= {"n_x_bins": 0, "n_d_bins": 0}
    return changed


def modifier(values: Values) -> Values:
    """The modifier of a compiled tile, which takes a number of steps as a step: wider than 2, it
    rounds all to 0."""
    if (
        values["type"] in ("Discretize", "DoReFa")
        and values["res"] > 2
        and not values["sto_round"]
    ):
        return {**values, "type": "Copy", "pdrop": 1.0}
    return values


def clip(values: Values) -> Values:
    """A fixed limit of exactly 0, which the release takes as one; here only positive numbers are
    limits."""
    if values["type"] == "FixedValue" and values["fixed_value"] == 0:
        return {**values, "fixed_value": 1e-30}
    return values


def without_pulses(update: Values) -> bool:
    """Whether the release fires nothing: a number of steps is taken as a step, and every
    probability rounds to 0."""
    drawn = update.get("pulse_type") in DRAWN
    return bool(drawn and update.get("res", 0) > 2 and not update.get("sto_round"))


def bypassed(device: Values, update: Values) -> bool:
    """Whether the visible weight learns exactly, past what the device is composed of."""
    # Mixed precision goes on with its own transfers where only pulses are left out.
    exact = ("None", "NoneWithDevice")
    kinds = (
        exact[:1]
        if "device" in device
        else exact
        if "unit_cell_devices" in device
        else ()
    )
    return update.get("pulse_type") in kinds
