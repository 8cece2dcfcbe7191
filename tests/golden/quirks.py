"""What a set-up meant to the reference release where this engine decides otherwise
(docs/quirks.md)."""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]


def device(values: Values, known: Any) -> Values:
    """Device parameters that make the engine follow the release."""
    changed = dict(values)
    if "outside_falls" in known:
        changed["outside_falls"] = True
    # The release counts a negative mean reset value as 0.
    if changed.get("reset", 0) < 0:
        changed["reset"] = 0.0
    return changed


def periphery(values: Values, known: Any) -> Values:
    """Settings of the periphery that make the engine follow the release."""
    changed = dict(values)
    if not changed.get("bm_test_negative_bound", True) and "bm_negative_hit_clears" in known:
        changed["bm_negative_hit_clears"] = True
    if "mask_clipped_gradient" in known:
        changed["mask_clipped_gradient"] = True
    # The release ignores these three where they stand; the engine refuses or applies them.
    if changed.get("out_asymmetry", 0) < 0:
        changed["out_asymmetry"] = 0.0
    if not changed.get("mv_type", "OnePass").startswith("PosNeg"):
        changed["w_read_asymmetry_dtod"] = 0.0
    if changed.get("w_noise_type", "None") == "None":
        changed["w_noise"] = 0.0
    # A converter without a bound has no steps there; the engine refuses to guess their width.
    for side in ("inp", "out"):
        if changed.get(f"{side}_bound", 1) <= 0:
            changed[f"{side}_res"] = -1
    return changed


DRAWN = ("Stochastic", "StochasticCompressed", "MeanCount")


def update(values: Values, *, writes: bool = False) -> Values:
    """Settings of a pulsed update: steps that have no effect are left out; exact writes go through
    the device."""
    changed = dict(values)
    # Numbers of steps: nothing fires (`without_pulses`), or the pulse type does not look at them.
    kind = changed.get("pulse_type")
    idle = {"res"} if kind not in DRAWN or without_pulses(values) else set()
    idle |= set() if kind == "DeterministicImplicit" else {"x_res_implicit", "d_res_implicit"}
    changed |= {key: 0.0 for key in idle if changed.get(key, 0) > 1}
    if writes and changed.get("pulse_type") == "None":
        changed["pulse_type"] = "NoneWithDevice"
    return changed


UNUSED = {
    "BufferedTransferCompound": ("with_reset_prob",),
    "ChoppedTransferCompound": ("with_reset_prob",),
    "DynamicTransferCompound": ("with_reset_prob", "out_chop_prob", "no_buffer"),
}


def transfer(device: Values) -> Values:
    """Parameters of a transfer that make the engine follow the release, without those that it never
    looks at."""
    name = device["class"]
    changed = {k: v for k, v in device.items() if k not in UNUSED.get(name, ())}
    if name in ("ChoppedTransferCompound", "DynamicTransferCompound"):
        # Two arrays: of the vectors only the first number counts.
        for key in ("transfer_every", "transfer_lr"):
            vector = changed.pop(f"{key}_vec", None)
            changed[key] = vector[0] if vector else changed[key]
    if name == "DynamicTransferCompound":
        # Without a probability, choppers switch as often as they can; a share of 0 is as good as
        # none.
        if changed["in_chop_prob"] == 0 and not changed["in_chop_random"]:
            changed["in_chop_prob"] = 1.0
        changed["tail_weightening"] = changed["tail_weightening"] or 1e-30
    never = changed["transfer_every"] == 0 or without_pulses(changed["transfer_update"])
    return changed | {"transfer_every": 1.0, "transfer_lr": 0.0} if never else changed


NEVER = 10**9


def mixed_precision(values: Values, rows: int) -> Values:
    """Mixed precision: what can never write, and more rows than there are."""
    changed = dict(values)
    if 0 in (changed["transfer_every"], changed["n_rows_per_transfer"]) or 1 in (
        changed["n_x_bins"],
        changed["n_d_bins"],
    ):
        changed |= {
            "transfer_every": NEVER,
            "n_rows_per_transfer": -1,
            "n_x_bins": 0,
            "n_d_bins": 0,
        }
    if changed["n_rows_per_transfer"] > rows:
        changed["n_rows_per_transfer"] = -1
    return changed


GROUPS = ("VectorUnitCell", "ReferenceUnitCell", "OneSidedUnitCell", "DifferenceUnitCell")
EXACT = ("None", "NoneWithDevice")


def bypassed(device: Values, update: Values) -> bool:
    """Whether the visible weight learns exactly, past what the device is composed of."""
    # Mixed precision goes on with its own transfers where only pulses are left out.
    exact = EXACT[:1] if "device" in device else EXACT if "unit_cell_devices" in device else ()
    return update["pulse_type"] in exact


def learner(device: Values, update: Values) -> Values | None:
    """The device whose bounds the visible weight then keeps, if any."""
    if update["pulse_type"] == "None" or device["class"] in GROUPS:
        return None
    found: Values = device["unit_cell_devices"][-1]
    return found


def learns(device: Values, update: Values) -> bool:
    """Whether the release changes any weight at all."""
    lost = device["class"] in GROUPS and update["pulse_type"] == "NoneWithDevice"
    return not (lost or without_pulses(update))


def without_pulses(update: Values) -> bool:
    """Whether the release fires nothing: a number of steps is taken as a step, and every
    probability rounds to 0."""
    drawn = update.get("pulse_type") in DRAWN
    return bool(drawn and update.get("res", 0) > 2 and not update.get("sto_round"))


def modifier(values: Values) -> Values:
    """The modifier of a compiled tile, which takes a number of steps as a step: wider than 2, it
    rounds all to 0."""
    if values["type"] in ("Discretize", "DoReFa") and values["res"] > 2 and not values["sto_round"]:
        return {**values, "type": "Copy", "pdrop": 1.0}
    return values


def clip(values: Values) -> Values:
    """A fixed limit of exactly 0, which the release takes as one; here only positive numbers are
    limits."""
    if values["type"] == "FixedValue" and values["fixed_value"] == 0:
        return {**values, "fixed_value": 1e-30}
    return values


def inference() -> Values:
    """Settings of analog inference that make the engine follow the release."""
    return {"reconvert": True}


def acceptance(table: Values, wanted: float) -> Any:
    """Programming noise for an acceptance range: that of the smallest one where the table does not
    hold it."""
    rows = {float(key): row for key, row in table.items()}
    return rows.get(float(wanted), rows[min(rows)])
