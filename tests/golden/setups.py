"""Turns the parameter objects of a set-up (class names and parameters of aihwkit) into this
engine's settings."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.devices.base import device_names, find_device
from engine.tile.settings import IO, DeviceSpec, read_settings
from tests.golden import quirks
from tests.golden.formula import evaluate, right_hand_side

T = TypeVar("T")
Object = Mapping[str, Any]

# Presets are written out in full, so only the step model below them is needed.
PRESET_MODELS = {
    "ReRamESPresetDevice": "ExpStepDevice",
    "ReRamSBPresetDevice": "SoftBoundsReferenceDevice",
    "ReRamArrayOMPresetDevice": "SoftBoundsReferenceDevice",
    "ReRamArrayHfO2PresetDevice": "SoftBoundsReferenceDevice",
    "CapacitorPresetDevice": "LinearStepDevice",
    "EcRamPresetDevice": "LinearStepDevice",
    "EcRamMOPresetDevice": "LinearStepDevice",
    "IdealizedPresetDevice": "ConstantStepDevice",
    "GokmenVlasovPresetDevice": "ConstantStepDevice",
    "PCMPresetDevice": "ExpStepDevice",
}
# What the measured release does beside its description; docs/quirks.md says what this engine does
# instead.
AS_MEASURED: dict[str, dict[str, Any]] = {"PowStepReferenceDevice": {"outside_falls": True}}
# Seeds are drawn by the caller; the other two are statistics that change nothing.
WITHOUT_EFFECT = {"class", "construction_seed", "count_pulses", "d_sparsity"}


# Parts of a set-up that say nothing of how they are measured.
PARAMETERS = {"io", "modifier", "tile_type", "clip", "remap", "noise_model", "update"}


class NotBuilt(Exception):
    """The set-up asks for something that this engine does not have."""


class Described(dict[str, Any]):
    """An object of a set-up, with its inner objects. What it lacks is named, not a bare key."""

    def __init__(self, values: Object) -> None:
        super().__init__({key: described(value) for key, value in values.items()})

    def __missing__(self, key: str) -> Any:
        raise NotBuilt(f"{self.get('class', 'the set-up')} without {key}")


def described(value: Any) -> Any:
    """A value of a set-up whose objects name what they lack."""
    if isinstance(value, Mapping):
        return Described(value)
    return [described(item) for item in value] if isinstance(value, list) else value


def lacks_protocol(setup: Object) -> bool:
    """Whether a set-up only names parameters of periphery or training: the reference refused them
    before anything was measured, so that there is nothing to repeat."""
    return bool(setup) and set(setup) <= PARAMETERS


def device_spec(setup: Object) -> DeviceSpec:
    """The device of a set-up. Raises NotBuilt for an unknown class or parameter."""
    wanted = PRESET_MODELS.get(setup["class"], setup["class"])
    models = {find_device(name).aihwkit: name for name in device_names()}
    if wanted not in models:
        raise NotBuilt(f"device class {wanted}")
    values = _known(_flatten(setup), find_device(models[wanted]).params, wanted) | AS_MEASURED.get(
        wanted, {}
    )
    if "reset" in values:
        values["reset"] = max(values["reset"], 0.0)
    return DeviceSpec(models[wanted], values)


def settings(kind: type[T], setup: Object) -> T:
    """A settings dataclass (IO, Update, ...) from an object of the set-up. Raises NotBuilt for an
    unknown field."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    values = _known(setup, names, setup["class"])
    if kind is IO:
        values = quirks.periphery(values, names)
    return read_settings(kind, values, setup["class"])


def _flatten(setup: Object) -> dict[str, Any]:
    """The nested drift parameters become `drift_...`; parameters that are computed from others
    (null) are left out."""
    flat: dict[str, Any] = {}
    for key, value in setup.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{inner}": v for inner, v in value.items() if inner != "class"}
        elif value is not None:
            flat[key] = value
    return flat


def _known(values: Object, names: Any, where: str) -> dict[str, Any]:
    unknown = [key for key in values if key not in names and key not in WITHOUT_EFFECT]
    if unknown:
        raise NotBuilt(f"{where} parameters {', '.join(unknown)}")
    return {
        key: value for key, value in values.items() if key in names and key not in WITHOUT_EFFECT
    }


def grid(text: str, **axes: int) -> npt.NDArray[np.float32]:
    """A float32 array from a formula over index names: `grid("W[i,j] = sin(i)", i=3, j=4)` has
    shape (3, 4)."""
    places = np.meshgrid(*(np.arange(size) for size in axes.values()), indexing="ij")
    _, formula = right_hand_side(text)
    value = evaluate(formula, **dict(zip(axes, places, strict=True)))
    return np.broadcast_to(np.asarray(value, dtype=np.float32), tuple(axes.values())).copy()


def seed_of(case: str, salt: int) -> int:
    """A seed that depends on the case alone (and the caller's salt), so that reruns agree."""
    return zlib.crc32(f"{salt}/{case}".encode())


def start_weights(value: float | str, rows: int, columns: int) -> Any:
    """The weights that a protocol starts from: one number for all, or a formula over i and j."""
    import torch

    text = value if isinstance(value, str) else repr(float(value))
    return torch.from_numpy(grid(text, i=rows, j=columns))
