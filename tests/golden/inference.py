"""Noise models and converters of a set-up as the settings of this engine."""

from __future__ import annotations

from typing import Any

from engine.inference.settings import Converter, InferenceSpec
from tests.golden import quirks
from tests.golden.setups import NotBuilt, Object

CONVERTERS = {
    "SinglePairConductanceConverter": "single_pair",
    "DualPairConductanceConverter": "dual_pair",
    "NPairConductanceConverter": "n_pair",
    "CustomPairConductanceConverter": "custom_pair",
    "SingleDeviceConductanceConverter": "single_device",
}
MODELS = {
    "PCMLikeNoiseModel": "pcm",
    "CustomDriftPCMLikeNoiseModel": "custom_drift",
    "ReRamWan2022NoiseModel": "reram_wan2022",
    "ReRamCMONoiseModel": "reram_cmo",
    "HermesNoiseModel": "hermes",
    "StateIndependentNoiseModel": "state_independent",
}
# Parameters under another name here; those with equal names are taken as they are.
RENAMED = {
    "prog_coeff_g_max_reference": "prog_coeff_g_max",
    "drift_nu_mean": "nu_mean",
    "drift_nu_std": "nu_std",
}
ALIKE = ("prog_coeff", "t_0", "t_read", "prog_noise_scale", "read_noise_scale", "drift_scale", "noise_scale",
         "num_devices")  # fmt: skip
# Told in the set-up and used nowhere in the release.
WITHOUT_EFFECT = {"ReRamWan2022NoiseModel": ("coeff_g_max_reference", "prog_coeff_g_max_reference"),
                  "ReRamCMONoiseModel": ("coeff_g_max_reference", "g_min")}  # fmt: skip


def inference_spec(setup: Object) -> InferenceSpec:
    """The noise model of a set-up with its converter. Raises NotBuilt for what this engine does not
    have."""
    name = setup["class"]
    if name not in MODELS:
        raise NotBuilt(f"noise model {name}")
    noise: dict[str, Any] = {}
    left = {
        k: v
        for k, v in setup.items()
        if k not in ("class", "g_converter", "g_max", *WITHOUT_EFFECT.get(name, ()))
    }
    for key in list(left):
        if key in ALIKE or key in RENAMED:
            noise[RENAMED.get(key, key)] = left.pop(key)
    noise |= _tables(left)
    if left:
        raise NotBuilt(f"{name} parameters {', '.join(left)}")
    converter = converter_of(setup["g_converter"])
    return InferenceSpec(
        MODELS[name],
        noise=noise,
        converter=converter,
        noise_g_max=setup.get("g_max") or converter.g_max,
        **quirks.inference(),
    )


def converter_of(setup: Object) -> Converter:
    """The converter of a set-up."""
    if setup["class"] not in CONVERTERS:
        raise NotBuilt(f"converter {setup['class']}")
    known = ("class", "g_max", "g_min", "f_lst", "g_lst", "scale_ratio", "invertibility_test")
    unknown = [key for key in setup if key not in known]
    if unknown:
        raise NotBuilt(f"{setup['class']} parameters {', '.join(unknown)}")
    return Converter(
        CONVERTERS[setup["class"]],
        g_max=setup["g_max"],
        g_min=setup["g_min"],
        significance=list(setup.get("f_lst", [])),
        tables=setup.get("g_lst"),
        invertible=False,
    )


def _tables(left: dict[str, Any]) -> dict[str, Any]:
    """Parameters that the release keeps in dictionaries; what is understood is taken out of
    `left`."""
    noise: dict[str, Any] = {}
    if "coeff_dic" in left:
        rows = sorted((float(time), row) for time, row in left.pop("coeff_dic").items())
        noise |= {
            "coeff_times": [time for time, _ in rows],
            "coeff": [c for _, row in rows for c in row],
        }
    if "coeff_dict" in left:
        noise["prog_coeff"] = quirks.acceptance(
            left.pop("coeff_dict"), left.pop("acceptance_range")
        )
    if "decay_dict" in left:
        decay = left.pop("decay_dict")
        noise |= {"decay_mean": decay["mean"][0]}
        noise |= {"decay_std_slope": decay["std"][0], "decay_std_offset": decay["std"][1]}
    if "read_dict" in left:
        read = left.pop("read_dict")
        noise |= {"read_factor": read["K"], "t_read": read["t_read"]}
    if "custom_drift_model" in left:
        drift = left.pop("custom_drift_model")
        noise |= {
            "nu_g": drift["g_lst"],
            "nu_mean": drift["nu_mean_lst"],
            "nu_std": drift["nu_std_lst"],
        }
    return noise
