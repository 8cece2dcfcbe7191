"""Settings of aihwkit as settings of this engine: every preset, field by field, and what has no
counterpart, by name."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engine.algorithms import find_algorithm
from engine.exchange.aihwkit.lost import Untranslatable
from engine.exchange.aihwkit.settings import Translation
from engine.inference import InferenceSpec
from engine.presets import inference, preset
from engine.tile.settings import TileSpec, read_settings

DATA = Path(__file__).parent / "data"
PRESETS = json.loads(gzip.decompress((DATA / "presets.json.gz").read_bytes()))
PREFIXES = {
    "TikiTaka": "tiki_taka_",
    "ChoppedTTv2": "chopped_ttv2_",
    "TTv2": "ttv2_",
    "AGAD": "agad_",
    "MixedPrecision": "mixed_precision_",
}
NAMES = {
    "ReRamES": "reram_es",
    "ReRamSB": "reram_sb",
    "ReRamArrayOM": "reram_array_om",
    "ReRamArrayHfO2": "reram_array_hfo2",
    "EcRamMO": "ecram_mo",
    "EcRam": "ecram",
    "GokmenVlasov": "gokmen_vlasov",
    "StandardHWATraining": "standard_hwa",
    "FloatingPoint": "floating_point",
}
# Equal in meaning: 254 steps are a step of 1/254, exact gradients need no backward periphery, and
# an exact product is a tile of its own kind there.
OTHERWISE = {
    "StandardHWATrainingPreset": {
        "backward.is_perfect": (True, False),
        "forward.inp_res": (254.0, 1 / 254),
        "forward.out_res": (254.0, 1 / 254),
    },
}


def our_name(theirs: str) -> str:
    """`tiki_taka_ecram` of `TikiTakaEcRamPreset`."""
    rest = theirs.removesuffix("Preset")
    start = next((ours for word, ours in PREFIXES.items() if rest.startswith(word)), "")
    rest = rest.removeprefix(
        next((w for w, ours in PREFIXES.items() if ours == start), "")
    )
    for word, ours in NAMES.items():
        if rest.rstrip("24") == word:
            return start + ours + rest.removeprefix(word)
    return start + rest.lower()


def spec_of(values: dict[str, Any]) -> TileSpec:
    """A tile specification with all settings of its algorithm."""
    spec = TileSpec.from_config(values)
    kind = find_algorithm(spec.algorithm.name).Settings
    spec.algorithm.params = asdict(
        read_settings(kind, spec.algorithm.params, spec.algorithm.name)
    )
    return spec


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Places and both values where two specifications differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from differences(
                ours.get(key), theirs.get(key), f"{place}.{key}".lstrip(".")
            )
    elif isinstance(ours, float) and isinstance(theirs, float):
        # aihwkit computes a few of its numbers, such as 0.3 / 0.75.
        if not math.isclose(ours, theirs, rel_tol=1e-15):
            yield place, (ours, theirs)
    elif ours != theirs:
        yield place, (ours, theirs)


def test_there_are_all_presets() -> None:
    assert len(PRESETS) == 54


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"FloatingPointPreset"}))
def test_a_preset_is_ours(name: str) -> None:
    translation = Translation()
    found = spec_of(translation.config(PRESETS[name]))
    ours = preset(our_name(name))
    assert dict(differences(asdict(found), asdict(ours))) == OTHERWISE.get(name, {})
    assert not translation.losses.found


def test_an_exact_tile_is_an_exact_tile() -> None:
    found = spec_of(Translation().config(PRESETS["FloatingPointPreset"]))
    assert found.forward.is_perfect
    assert found.backward.is_perfect
    assert found.device.model == "ideal"
    assert (found.mapping.max_input_size, found.mapping.max_output_size) == (0, 0)


def test_the_noise_model_of_a_preset_is_ours() -> None:
    values = Translation().config(PRESETS["StandardHWATrainingPreset"])["inference"]
    found, ours = InferenceSpec.from_config(values), inference("pcm")
    assert dict(differences(asdict(found), asdict(ours))) == {}


def changed(name: str, **changes: Any) -> dict[str, Any]:
    """The settings of a preset with others: `forward__ir_drop=1.0`."""
    setup = json.loads(json.dumps(PRESETS[name]))
    for key, value in changes.items():
        place, *parts = setup, *key.split("__")
        for part in parts[:-1]:
            place = place[part]
        place[parts[-1]] = value
    return setup


LOST = {
    "d_sparsity": ("EcRamPreset", {"update__d_sparsity": True}, False),
    "count_pulses": ("EcRamPreset", {"device__count_pulses": True}, False),
    "no_self_transfer": ("AGADEcRamPreset", {"device__no_self_transfer": False}, True),
    "copy_inverted": ("PCMPreset", {"device__copy_inverted": True}, False),
    "ir_drop": (
        "TikiTakaEcRamPreset",
        {"device__transfer_forward__ir_drop": 1.0},
        True,
    ),
    "data_type": ("EcRamPreset", {"runtime__data_type": "half"}, True),
    "input_range": ("EcRamPreset", {"pre_post__input_range__enable": True}, True),
    "of_the_future": ("EcRamPreset", {"device__of_the_future": 3}, True),
    "drift_compensation": (
        "StandardHWATrainingPreset",
        {"drift_compensation": {"class": "Mine", "bases": []}},
        True,
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_not_carried_is_named(name: str) -> None:
    start, changes, matters = LOST[name]
    translation = Translation()
    spec_of(translation.config(changed(start, **changes)))
    (lost,) = translation.losses.found
    assert name in str(lost)
    assert lost.matters == matters


def test_a_class_of_ones_own_is_refused_by_name() -> None:
    with pytest.raises(Untranslatable, match="device class Mine"):
        Translation().config(
            changed("EcRamPreset", device={"class": "Mine", "bases": []})
        )
    with pytest.raises(Untranslatable, match="configuration Mine"):
        Translation().config({"class": "Mine"})


def test_the_release_is_followed_when_asked() -> None:
    setup = changed("AGADEcRamPreset", device__in_chop_prob=0.0)
    plain = Translation().config(changed("AGADEcRamPreset"))["algorithm"]
    followed = Translation(as_released=True).config(setup)["algorithm"]
    assert "gamma_with_choppers" not in plain
    assert followed["gamma_with_choppers"] is False
    assert followed["in_chop_prob"] == 1.0
    forward = Translation(as_released=True).config(setup)["tile"]["forward"]
    assert forward["mask_clipped_gradient"] is True
