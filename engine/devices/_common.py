"""Parameters that pulsed devices share (names of aihwkit where they mean the same)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.devices.base import Param

BASE: dict[str, Param] = {
    "construction_seed": Param(
        0,
        "",
        "seed of the devices, whatever the seed of the run (arrays of equal size have equal "
        "devices); 0 = drawn anew for each layer and seed",
        minimum=0,
    ),
    "dw_min": Param(0.001, "weight", "mean step of one pulse", above=0),
    "dw_min_dtod": Param(
        0.3, "of dw_min", "device-to-device spread of the step", minimum=0
    ),
    "dw_min_dtod_log_normal": Param(
        False, "", "the spread of the step is log-normal (median dw_min)"
    ),
    "dw_min_std": Param(
        0.3, "of the step", "cycle-to-cycle spread of one pulse", minimum=0
    ),
    "up_down": Param(
        0.0,
        "of dw_min",
        "mean asymmetry: > 0 weakens down pulses only, < 0 up pulses only",
    ),
    "up_down_dtod": Param(
        0.01,
        "of dw_min",
        "device-to-device spread of the asymmetry (up +r, down -r)",
        minimum=0,
    ),
    "w_max": Param(0.6, "weight", "mean upper bound", minimum=0),
    "w_min": Param(-0.6, "weight", "mean lower bound", maximum=0),
    "w_max_dtod": Param(
        0.3, "of w_max", "device-to-device spread of the upper bound", minimum=0
    ),
    "w_min_dtod": Param(
        0.3, "of w_min", "device-to-device spread of the lower bound", minimum=0
    ),
    "lifetime": Param(
        0.0,
        "mini-batches",
        "time constant of the decay to the reset value; 0 = no decay",
        minimum=0,
    ),
    "lifetime_dtod": Param(
        0.0, "of lifetime", "device-to-device spread of the lifetime", minimum=0
    ),
    "diffusion": Param(
        0.0,
        "weight",
        "standard deviation of the random walk in one mini-batch",
        minimum=0,
    ),
    "diffusion_dtod": Param(
        0.0, "of diffusion", "device-to-device spread of the diffusion", minimum=0
    ),
    "reset": Param(0.0, "weight", "mean weight after a reset"),
    "reset_dtod": Param(
        0.0, "weight", "device-to-device spread of the reset value (absolute)"
    ),
    "reset_std": Param(0.01, "weight", "cycle-to-cycle spread of the reset", minimum=0),
    "corrupt_devices_prob": Param(
        0.0, "", "share of devices stuck at a random value", minimum=0, maximum=1
    ),
    "corrupt_devices_range": Param(
        0.1, "weight", "stuck values lie within plus or minus this"
    ),
    "enforce_consistency": Param(
        True, "", "steps and bounds get the sign that they should have"
    ),
    "perfect_bias": Param(
        False, "", "the last column (an analog bias) has no spread and wide bounds"
    ),
    "drift_nu": Param(
        0.0, "", "mean exponent of the power-law drift; 0 = no drift", minimum=0
    ),
    "drift_nu_dtod": Param(
        0.0, "of drift_nu", "device-to-device spread of the exponent"
    ),
    "drift_nu_std": Param(
        0.0, "of drift_nu", "spread of the exponent from one call to the next"
    ),
    "drift_t_0": Param(1.0, "time", "unit of time of the drift", above=0),
    "drift_reset_tol": Param(
        1e-7, "weight", "a larger change of the weight restarts its drift"
    ),
    "drift_wg_ratio": Param(
        1.0, "weight/conductance", "scale from conductance to weight"
    ),
    "drift_g_offset": Param(0.0, "conductance", "conductance at weight drift_w_offset"),
    "drift_w_offset": Param(0.0, "weight", "weight at conductance drift_g_offset"),
    "drift_nu_k": Param(
        0.0, "", "dependence of the exponent on the logarithm of the conductance"
    ),
    "drift_log_g0": Param(
        0.0, "", "logarithm of the conductance at which the exponent is drift_nu"
    ),
    "drift_w_noise_std": Param(
        0.0, "weight", "noise added to the weight in each drift call", minimum=0
    ),
}

WRITE_NOISE: dict[str, Param] = {
    "write_noise_std": Param(
        0.0, "of dw_min", "noise of the weight seen over the hidden one", minimum=0
    ),
    "apply_write_noise_on_set": Param(
        True, "", "setting a weight draws its write noise as well"
    ),
}


def base_params(**changes: Any) -> dict[str, Param]:
    """The shared parameters, some with another default."""
    table = dict(BASE)
    for name, default in changes.items():
        table[name] = replace(table[name], default=default)
    return table


def check_bounds(values: dict[str, Any]) -> str | None:
    """One line if the mean bounds leave no range."""
    if values["w_min"] >= values["w_max"]:
        return f"w_min ({values['w_min']:g}) must be below w_max ({values['w_max']:g})"
    return None
