"""What a set-up meant to the reference release where this engine decides otherwise (docs/quirks.md)."""

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


def without_pulses(update: Values) -> bool:
    """Whether the release fires nothing: a number of steps is taken as a step, and every probability rounds to 0."""
    drawn = update.get("pulse_type") in ("Stochastic", "StochasticCompressed", "MeanCount")
    return bool(drawn and update.get("res", 0) > 2 and not update.get("sto_round"))


def modifier(values: Values) -> Values:
    """The modifier of a compiled tile, which takes a number of steps as a step: wider than 2, it rounds all to 0."""
    if values["type"] in ("Discretize", "DoReFa") and values["res"] > 2 and not values["sto_round"]:
        return {**values, "type": "Copy", "pdrop": 1.0}
    return values


def clip(values: Values) -> Values:
    """A fixed limit of exactly 0, which the release takes as one; here only positive numbers are limits."""
    if values["type"] == "FixedValue" and values["fixed_value"] == 0:
        return {**values, "fixed_value": 1e-30}
    return values


def inference() -> Values:
    """Settings of analog inference that make the engine follow the release."""
    return {"reconvert": True}


def acceptance(table: Values, wanted: float) -> Any:
    """Programming noise for an acceptance range: that of the smallest one where the table does not hold it."""
    rows = {float(key): row for key, row in table.items()}
    return rows.get(float(wanted), rows[min(rows)])
