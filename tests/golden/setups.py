"""Turns the parameter objects of a set-up (class names and parameters of aihwkit) into this
engine's settings: the translation is the product's, with the options that follow the release."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.config.hwa import WeightClip
from engine.exchange.aihwkit import released
from engine.exchange.aihwkit.lost import Untranslatable
from engine.exchange.aihwkit.settings import Translation
from engine.tile.settings import IO, DeviceSpec, Update, read_settings
from engine.tile.settings import device_spec as read_device
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


class Release(Translation):
    """The product's translation for a set-up of the figures, which must lose nothing."""

    def __init__(self) -> None:
        super().__init__(as_released=True)

    def check(self) -> None:
        """Raises NotBuilt for what would change the figures and is not carried."""
        lines = [str(lost) for lost in self.losses.that_matter]
        if lines:
            raise NotBuilt("; ".join(lines))


def complete(setup: Any) -> Any:
    """A set-up with the bases of preset classes, which the figures leave out, and without seeds,
    which the caller draws."""
    if isinstance(setup, Mapping):
        whole = {k: complete(v) for k, v in setup.items() if k != "construction_seed"}
        model = PRESET_MODELS.get(str(setup.get("class")))
        return Described(whole | ({"bases": [model]} if model else {}))
    return [complete(item) for item in setup] if isinstance(setup, list) else setup


def device_spec(setup: Object) -> DeviceSpec:
    """The device of a set-up, or cells of several. Raises NotBuilt for an unknown class or
    parameter."""
    release = Release()
    try:
        values = release.device(complete(setup))
    except Untranslatable as problem:
        raise NotBuilt(str(problem)) from problem
    release.check()
    return read_device(values)


def settings(kind: type[T], setup: Object) -> T:
    """A settings dataclass (IO, Update, ...) from an object of the set-up. Raises NotBuilt for an
    unknown field."""
    release, where = Release(), setup["class"]
    if kind is IO:
        values = release.io(setup, where)
    elif kind is Update:
        values = release.update(setup, where)
    else:
        values = release.known(setup, {f.name for f in fields(kind)}, where)  # type: ignore[arg-type]
    values = released.clip(values) if kind is WeightClip else values
    release.check()
    return read_settings(kind, values, where)


def grid(text: str, **axes: int) -> npt.NDArray[np.float32]:
    """A float32 array from a formula over index names: `grid("W[i,j] = sin(i)", i=3, j=4)` has
    shape (3, 4)."""
    places = np.meshgrid(*(np.arange(size) for size in axes.values()), indexing="ij")
    _, formula = right_hand_side(text)
    value = evaluate(formula, **dict(zip(axes, places, strict=True)))
    return np.broadcast_to(
        np.asarray(value, dtype=np.float32), tuple(axes.values())
    ).copy()


def seed_of(case: str, salt: int) -> int:
    """A seed that depends on the case alone (and the caller's salt), so that reruns agree."""
    return zlib.crc32(f"{salt}/{case}".encode())


def start_weights(value: float | str, rows: int, columns: int) -> Any:
    """The weights that a protocol starts from: one number for all, or a formula over i and j."""
    import torch

    text = value if isinstance(value, str) else repr(float(value))
    return torch.from_numpy(grid(text, i=rows, j=columns))
