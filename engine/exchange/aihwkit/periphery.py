"""Settings of aihwkit's periphery, pulses and training as settings of a tile here."""

from __future__ import annotations

import math
from typing import Any

from engine.exchange.aihwkit import released, words
from engine.exchange.aihwkit.words import Setup

Values = dict[str, Any]
# Settings of the pulses that a pulse type does not look at.
IDLE_STEPS = {
    "None": ("res", "x_res_implicit", "d_res_implicit"),
    "NoneWithDevice": ("res", "x_res_implicit", "d_res_implicit"),
    "DeterministicImplicit": ("res",),
}
IDLE_OTHERWISE = ("x_res_implicit", "d_res_implicit")


def pulses(
    values: Values, *, writes: bool = False, as_released: bool = False
) -> Values:
    """A pulsed update; `writes` says that it is the write of a transfer, whose exact form goes
    through the device.

    A number of steps (above 1) becomes the step that it means. The release takes it for a step, so
    wide that nothing fires."""
    changed, kind = dict(values), str(values.get("pulse_type", "StochasticCompressed"))
    idle = IDLE_STEPS.get(kind, IDLE_OTHERWISE)
    if as_released and released.without_pulses(values):
        idle = (*idle, "res")
    for name in ("res", *IDLE_OTHERWISE):
        if changed.get(name, 0) > 1 and (name in idle or not as_released):
            changed[name] = 0.0 if name in idle else 1.0 / changed[name]
    if writes and kind == "None":
        changed["pulse_type"] = "NoneWithDevice"
    return changed


def converters(values: Values) -> Values:
    """A periphery without what has no effect where it stands, which is refused here."""
    changed = dict(values)
    for side in ("inp", "out"):
        bound = changed.get(f"{side}_bound", 1)
        if not math.isfinite(bound) or bound <= 0:
            # A converter without a range has no steps.
            changed |= {f"{side}_bound": 0.0, f"{side}_res": -1.0}
    if not str(changed.get("mv_type", "OnePass")).startswith("PosNeg"):
        changed.pop("w_read_asymmetry_dtod", None)
    if changed.get("w_noise_type", "None") == "None":
        changed.pop("w_noise", None)
    return changed


def wires(forward: Setup, *, as_released: bool = False) -> Values:
    """The section `inference.wires` of a periphery whose wires drop voltage over time."""
    found: Values = {"enabled": True}
    found |= {
        ours: forward[theirs]
        for theirs, ours in words.WIRES.items()
        if theirs in forward
    }
    # Theirs scales the wire resistance; here the resistance itself is given.
    found["resistance"] = found.get("resistance", 0.15) * forward.get("ir_drop", 1.0)
    if forward.get("apply_xdep_pcm_read_noise"):
        found["read_noise"] = forward.get("xdep_pcm_read_noise_scale", 1.0)
    # Their usual integral counts the first time step one and a half times.
    if as_released and not forward.get("ir_drop_integration_sum", False):
        found["integration"] = "trapezium"
    return found
