"""Noise models, converters and compensation of aihwkit as the section `inference` of a recipe."""

from __future__ import annotations

from typing import Any

from engine.exchange.aihwkit import words
from engine.exchange.aihwkit.lost import Losses, Untranslatable
from engine.exchange.aihwkit.words import Setup
from engine.inference.base import find_noise_model

Values = dict[str, Any]
# Settings that the release keeps and computes nothing with.
UNUSED = {
    "ReRamWan2022NoiseModel": ("coeff_g_max_reference", "prog_coeff_g_max_reference"),
    "ReRamCMONoiseModel": ("coeff_g_max_reference", "g_min"),
}
CONVERTER_FIELDS = ("g_max", "g_min", "f_lst", "g_lst")
# A converter's own memory, and a test that this engine makes at every node of the tables.
CONVERTER_REST = ("class", "bases", "scale_ratio", "invertibility_test")


def inference(setup: Setup, losses: Losses, *, as_released: bool = False) -> Values:
    """Noise model, converter and compensation of a configuration for inference."""
    found = noise_model(setup["noise_model"], losses)
    compensation = setup.get("drift_compensation")
    kind = "none" if compensation is None else ""
    if compensation is not None:
        kind = words.COMPENSATIONS.get(
            words.nearest_class(compensation, words.COMPENSATIONS), ""
        )
        if not kind:
            losses.add("drift_compensation", "own class", compensation["class"])
    if kind:
        found["compensation"] = kind
    if as_released:
        found["reconvert"] = True
    return found


def noise_model(setup: Setup, losses: Losses) -> Values:
    """A noise model with its converter. Raises Untranslatable for a class of the user's own."""
    known = words.noise_models()
    theirs = words.nearest_class(setup, known)
    if not theirs:
        raise Untranslatable(
            f"noise model {setup.get('class')} has nothing like it here"
        )
    model, unused = find_noise_model(known[theirs]), UNUSED.get(theirs, ())
    left = {
        key: value
        for key, value in setup.items()
        if key not in ("class", "bases", "g_converter", "g_max", *unused)
    }
    noise = _tables(left)
    for key in list(left):
        ours = words.NOISE_SETTINGS.get(key, key)
        if ours in model.params:
            noise[ours] = left.pop(key)
    for key, value in left.items():
        losses.add(f"noise_model.{key}", "unknown here", value)
    converter = convert(setup["g_converter"], losses)
    found: Values = {"noise_model": model.name, "converter": converter, "noise": noise}
    if setup.get("g_max") and setup["g_max"] != converter["g_max"]:
        found["noise_g_max"] = setup["g_max"]
    return found


def convert(setup: Setup, losses: Losses) -> Values:
    """A converter from weights to conductances."""
    theirs = words.nearest_class(setup, words.CONVERTERS)
    if not theirs:
        raise Untranslatable(f"converter {setup.get('class')} has nothing like it here")
    for key, value in setup.items():
        if key not in (*CONVERTER_FIELDS, *CONVERTER_REST):
            losses.add(f"g_converter.{key}", "unknown here", value)
    found: Values = {"kind": words.CONVERTERS[theirs]}
    found |= {"g_max": setup["g_max"], "g_min": setup["g_min"]}
    if setup.get("f_lst") and found["kind"] not in ("single_pair", "single_device"):
        found["significance"] = list(setup["f_lst"])
    if setup.get("g_lst"):
        # Theirs is tested at five weights, ours at all nodes of the tables.
        found |= {"tables": setup["g_lst"], "invertible": False}
    return found


def _tables(left: Values) -> Values:
    """Parameters that the release keeps in dictionaries; what is understood is taken out of
    `left`."""
    noise: Values = {}
    if "coeff_dic" in left:
        rows = sorted((float(time), row) for time, row in left.pop("coeff_dic").items())
        noise |= {
            "coeff_times": [time for time, _ in rows],
            "coeff": [c for _, row in rows for c in row],
        }
    if "coeff_dict" in left:
        noise["prog_coeff"] = _acceptance(
            left.pop("coeff_dict"), left.pop("acceptance_range")
        )
    if "decay_dict" in left:
        decay = left.pop("decay_dict")
        noise |= {"decay_mean": decay["mean"][0]}
        noise |= {
            "decay_std_slope": decay["std"][0],
            "decay_std_offset": decay["std"][1],
        }
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


def _acceptance(table: Values, wanted: float) -> Any:
    """Programming noise for an acceptance range: that of the smallest one where the table does not
    hold it, as in the release."""
    rows = {float(key): row for key, row in table.items()}
    return rows.get(float(wanted), rows[min(rows)])
