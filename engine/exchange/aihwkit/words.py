"""The words of aihwkit for what this engine has: classes, settings, hidden parameters of cells.

Settings that are not in a table have the same name and meaning on both sides."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from engine.devices.base import device_names, find_device
from engine.inference.base import find_noise_model, noise_model_names

Setup = Mapping[str, Any]

# Configurations whose weights learn by their gradient, and those of them whose tile torch computes.
TRAINED = ("InferenceRPUConfig",)
TORCH_TILES = ("TorchInferenceRPUConfig",)
PULSED = ("SingleRPUConfig", "UnitCellRPUConfig", "DigitalRankUpdateRPUConfig")
EXACT = ("FloatingPointRPUConfig",)

GROUPS = {
    "VectorUnitCell": "vector",
    "ReferenceUnitCell": "reference_pair",
    "OneSidedUnitCell": "one_sided",
    "DifferenceUnitCell": "one_sided",
}
POLICIES = {
    "All": "all",
    "SingleFixed": "fixed",
    "SingleSequential": "sequential",
    "SingleRandom": "random",
}
TRANSFERS = {
    "TransferCompound": "tiki_taka",
    "BufferedTransferCompound": "ttv2",
    "ChoppedTransferCompound": "chopped_ttv2",
    "DynamicTransferCompound": "agad",
}
MIXED_PRECISION = "MixedPrecisionCompound"
TRANSFER_SETTINGS = {"experimental_correct_accumulation": "correct_accumulation"}

CONVERTERS = {
    "SinglePairConductanceConverter": "single_pair",
    "DualPairConductanceConverter": "dual_pair",
    "NPairConductanceConverter": "n_pair",
    "CustomPairConductanceConverter": "custom_pair",
    "SingleDeviceConductanceConverter": "single_device",
}
COMPENSATIONS = {
    "GlobalDriftCompensation": "global",
    "GlobalDriftCompensationWithExactReference": "exact_reference",
    "PerColumnDriftCompensation": "per_column",
}
NOISE_SETTINGS = {
    "prog_coeff_g_max_reference": "prog_coeff_g_max",
    "drift_nu_mean": "nu_mean",
    "drift_nu_std": "nu_std",
}
# Wires that drop voltage over time: theirs are settings of the forward periphery.
WIRES = {
    "ir_drop_rs": "resistance",
    "ir_drop_segments": "segments",
    "ir_drop_time_step_resolution_scale": "time_scale",
    "ir_drop_v_read": "v_read",
    "adc_quantization": "adc_quantized",
    "adc_frequency": "adc_frequency",
}

# Constants of a cell. A decay factor of 1 and a diffusion of 0 mean that the device has neither.
CELLS = {
    "decay_scales": "decay_scale",
    "diffusion_rates": "diffusion_rate",
    "persistent_weights": "persistent",
}
UNUSED_CELLS = {
    "decay_scales": 1.0,
    "diffusion_rates": 0.0,
    "reset_bias": 0.0,
    "drift_nu": 0.0,
}


@functools.cache
def devices() -> dict[str, str]:
    """Step models of this engine by the names of aihwkit's classes."""
    return {
        find_device(name).aihwkit: name
        for name in device_names()
        if find_device(name).aihwkit
    }


@functools.cache
def noise_models() -> dict[str, str]:
    """Noise models of this engine by the names of aihwkit's classes."""
    found = {name: find_noise_model(name).aihwkit for name in noise_model_names()}
    return {theirs: name for name, theirs in found.items() if theirs}


def classes(setup: Setup) -> tuple[str, ...]:
    """The class of an object of settings, then the classes that it extends."""
    return (str(setup.get("class", "")), *map(str, setup.get("bases", ())))


def nearest_class(setup: Setup, known: Any) -> str:
    """The first of an object's classes that is known, or nothing."""
    return next((name for name in classes(setup) if name in known), "")
