"""A model of aihwkit as a recipe: the nearest presets, and what differs from them."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.algorithms import find_algorithm
from engine.exchange.aihwkit.file import Source
from engine.exchange.aihwkit.lost import Losses, Untranslatable
from engine.exchange.aihwkit.settings import Translation
from engine.inference import InferenceSpec
from engine.presets import inference, load_member, members, preset_values
from engine.settings import UserError
from engine.tile.settings import DeviceSpec, TileSpec, read_settings

Values = dict[str, Any]
Sections = Mapping[str, Any]
PARTS = ("device", "algorithm", "tile")
# More settings than this that differ: then the parts are written by themselves.
MOST_CHANGES = 12
# A device without parameters, to which all are added.
PLAIN = "ideal"


def settings_by_grid(
    source: Source, losses: Losses, *, as_released: bool = False
) -> dict[str, Values]:
    """Device, algorithm, tile and inference of every grid of a model. Raises UserError that names
    the grid whose settings have nothing like them here."""
    found: dict[str, Values] = {}
    for grid, tiles in source.tiles.items():
        translation = Translation(as_released)
        try:
            found[grid] = translation.config(tiles[0].config)
            spec_of(found[grid])
        except (Untranslatable, ValueError) as problem:
            raise UserError(f"{source.path}: {grid}: {problem}") from problem
        for lost in translation.losses.found:
            losses.add(f"{grid}: {lost.place}", lost.why, lost.value, matters=lost.matters)
    return found


def recipe(settings: Mapping[str, Sections]) -> Values:
    """The recipe of layers with these settings: those of most layers for all, those of the others
    under `layers`."""
    counted = Counter(_key(values) for values in settings.values())
    most = counted.most_common(1)[0][0]
    common = next(values for values in settings.values() if _key(values) == most)
    layers = {
        name: _difference(values, common)
        for name, values in settings.items()
        if _key(values) != most
    }
    found = _with_presets(common)
    if layers:
        found["layers"] = layers
    programmed = next((v["inference"] for v in settings.values() if "inference" in v), None)
    if programmed is not None:
        _add_inference(found, programmed)
    return found


def spec_of(values: Mapping[str, Any]) -> TileSpec:
    """The tile of sections of a recipe, with every setting of its algorithm. Raises ValueError."""
    spec = TileSpec.from_config(values)
    kind = find_algorithm(spec.algorithm.name).Settings
    where = f"algorithm.{spec.algorithm.name}"
    spec.algorithm.params = asdict(read_settings(kind, spec.algorithm.params, where))
    return spec


def _with_presets(common: Sections) -> Values:
    """`defaults` and values of the nearest preset, or of the parts by themselves."""
    spec = spec_of(common)
    name, changes = _nearest(_flat(spec))
    if name and len(changes) <= MOST_CHANGES:
        return {"defaults": [{"preset": name}], **_nested(changes)}
    parts = {"device": PLAIN, "tile": "default", "algorithm": spec.algorithm.name}
    base = {part: load_member(part, member) for part, member in parts.items()}
    base["device"] = common["device"]
    found: Values = {"defaults": [{part: name} for part, name in parts.items()]}
    if spec.device.model != PLAIN:
        about = {"about": "cells of an imported model", "source": "imported from aihwkit"}
        found["device"] = {**about, **_short(spec.device)}
    changes = _changes(_flat(spec), _flat(spec_of(base)))
    return {**found, **_nested({k: v for k, v in changes.items() if not k.startswith("device.")})}


def _short(device: DeviceSpec) -> Values:
    """A device without the parameters that have their usual values."""
    usual = dict(_leaves(DeviceSpec(device.model, {}, device.cells).params))
    changes = {k: v for k, v in _leaves(device.params) if k not in usual or v != usual[k]}
    cells = {name: _short(cell) for name, cell in device.cells.items()}
    return {"model": device.model, **_nested(changes), **({"cells": cells} if cells else {})}


def _nearest(wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The preset with the fewest settings that differ, among those of the same kinds."""
    best: tuple[str, dict[str, Any]] = "", {}
    for name, flat in _presets().items():
        if set(flat) != set(wanted) or any(flat[k] != wanted[k] for k in flat if _is_kind(k)):
            continue
        changes = _changes(wanted, flat)
        if not best[0] or len(changes) < len(best[1]):
            best = name, changes
    return best


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    """Every preset with all settings of its tile, flat."""
    return {name: _flat(spec_of(preset_values(name))) for name in sorted(members("preset"))}


def _is_kind(key: str) -> bool:
    """Whether a setting decides which other settings there are."""
    return key.endswith((".model", "algorithm.name"))


def _flat(spec: TileSpec) -> dict[str, Any]:
    """All settings of a tile by dotted keys of a recipe."""
    values = asdict(spec)
    algorithm = values.pop("algorithm")
    arrays = {name: _device(device) for name, device in algorithm["devices"].items()}
    sections = {
        "device": _device(values.pop("device")),
        "algorithm": {"name": algorithm["name"], **algorithm["params"], **arrays},
        "tile": values,
    }
    return dict(_leaves(sections))


def _device(values: Mapping[str, Any]) -> Values:
    """A device as it stands in a recipe."""
    cells = {name: _device(cell) for name, cell in values["cells"].items()}
    more = {"cells": cells} if cells else {}
    return {"model": values["model"], **values["params"], **more}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _changes(wanted: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from `base`, in meaning: 254 steps are a step of 1/254."""
    return {
        key: value
        for key, value in wanted.items()
        if key not in base or not _alike(key, value, base[key])
    }


def _alike(key: str, one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if key.endswith("_res"):
            one, other = (1 / v if v > 1 else v for v in (one, other))
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


def _nested(flat: Mapping[str, Any]) -> Values:
    found: Values = {}
    for key, value in flat.items():
        *parts, last = key.split(".")
        place = found
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def _difference(values: Sections, common: Sections) -> Values:
    """What a rule of `layers` says of a layer: it lies over the common settings, unless it names
    another device or algorithm, which takes nothing over."""
    own, shared = spec_of(values), spec_of(common)
    changes = _changes(_flat(own), _flat(shared))
    found = _nested({k: v for k, v in changes.items() if k.startswith("tile.")})
    if own.device != shared.device:
        found["device"] = _short(own.device)
        if own.device.model == shared.device.model:
            inner = _nested({k: v for k, v in changes.items() if k.startswith("device.")})
            found["device"] = inner.get("device", {})
    if own.algorithm == shared.algorithm:
        return found
    name = own.algorithm.name
    if name != shared.algorithm.name:
        usual = spec_of({"algorithm": {"name": name}, "device": values["device"]})
        changes = _changes(_flat(own), _flat(usual))
    inner = _nested({k: v for k, v in changes.items() if k.startswith("algorithm.")})
    arrays = {key: _short(device) for key, device in own.algorithm.devices.items()}
    found["algorithm"] = {"name": name, **inner.get("algorithm", {}), **arrays}
    return found


def _key(values: Sections) -> str:
    return repr(sorted(_flat(spec_of(values)).items()))


def _add_inference(found: Values, values: Sections) -> None:
    """The nearest preset of programming, and what differs from it."""
    wanted = dict(_leaves(asdict(InferenceSpec.from_config(values))))
    candidates = {}
    for name in sorted(members("inference")):
        base = dict(_leaves(asdict(inference(name))))
        if base["noise_model"] == wanted["noise_model"] and set(base) == set(wanted):
            changes = _changes(wanted, base)
            # When to read is the user's, not the model's.
            candidates[name] = {k: v for k, v in changes.items() if k not in ("times", "repeats")}
    if not candidates:
        found["inference"] = dict(values)
        return
    name = min(candidates, key=lambda member: len(candidates[member]))
    found["defaults"].append({"inference": name})
    if candidates[name]:
        found["inference"] = _nested(candidates[name])


def same_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets of sections make the same tile."""
    flat, wanted = (_flat(spec_of(values)) for values in (one, other))
    return set(flat) == set(wanted) and not _changes(wanted, flat)
