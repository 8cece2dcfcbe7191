"""Settings as a recipe says them: the nearest presets, and what differs from them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.algorithms import find_algorithm
from engine.inference import InferenceSpec
from engine.presets import inference, load_member, members, preset_values
from engine.settings import data_dirs
from engine.tile.settings import DeviceSpec, TileSpec, device_spec, read_settings

Values = dict[str, Any]
Sections = Mapping[str, Any]
# A device without parameters, to which all are added.
PLAIN = "ideal"


def spec_of(values: Mapping[str, Any]) -> TileSpec:
    """The tile of sections of a recipe, with every setting of its algorithm. Raises ValueError."""
    spec = TileSpec.from_config(values)
    kind = find_algorithm(spec.algorithm.name).Settings
    where = f"algorithm.{spec.algorithm.name}"
    spec.algorithm.params = asdict(read_settings(kind, spec.algorithm.params, where))
    return spec


def sections(common: Sections, about: str) -> Values:
    """`defaults` and values: of the nearest preset, or of the nearest device, tile and algorithm if
    less differs from these."""
    spec = spec_of(common)
    wanted = _flat(spec)
    name, changes = _nearest(wanted, _members("preset"))
    device, tile = _nearest_part("device", wanted), _nearest_part("tile", wanted)
    algorithm = load_member("algorithm", spec.algorithm.name)
    others = _changes(wanted, _flat(spec_of({**common, "algorithm": algorithm})))
    parts = {**device[1], **tile[1], **others}
    if name and len(changes) <= len(parts):
        return {"defaults": [{"preset": name}], **_nested(changes)}
    names = {"device": device[0] or PLAIN, "tile": tile[0], "algorithm": spec.algorithm.name}
    found: Values = {"defaults": [{part: member} for part, member in names.items()]}
    if not device[0] and spec.device.model != PLAIN:
        # No preset has such a device: its model, and what is not as usual.
        texts = {"about": about, "source": common["device"].get("source", about)}
        found["device"] = {**texts, **_short(spec.device)}
    return {**found, **_nested(parts)}


def _nearest_part(part: str, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The member of a group with the fewest settings that differ, of the same kinds; none if
    almost all of a device differ."""
    own = {key: value for key, value in wanted.items() if key.startswith(f"{part}.")}
    name, changes = _nearest(own, _members(part))
    short = _leaves(_short_of(own)) if part == "device" else ()
    return (name, changes) if part == "tile" or len(changes) < len(list(short)) else ("", {})


def _short_of(own: Mapping[str, Any]) -> Values:
    return _short(device_spec(_nested(own)["device"]))


def _short(device: DeviceSpec) -> Values:
    """A device without the parameters that have their usual values."""
    usual = dict(_leaves(DeviceSpec(device.model, {}, device.cells).params))
    changes = {k: v for k, v in _leaves(device.params) if k not in usual or v != usual[k]}
    cells = {name: _short(cell) for name, cell in device.cells.items()}
    return {"model": device.model, **_nested(changes), **({"cells": cells} if cells else {})}


def _nearest(
    wanted: Mapping[str, Any], candidates: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """The candidate with the fewest settings that differ, among those of the same kinds."""
    best: tuple[str, dict[str, Any]] = "", {}
    for name, flat in candidates.items():
        if set(flat) != set(wanted) or any(flat[k] != wanted[k] for k in flat if _is_kind(k)):
            continue
        changes = _changes(wanted, flat)
        if not best[0] or len(changes) < len(best[1]):
            best = name, changes
    return best


def _members(group: str) -> dict[str, dict[str, Any]]:
    return _members_of(group, tuple(data_dirs()))


@functools.cache
def _members_of(group: str, places: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """Every member of a group with all its settings, flat. A file of the user's own that is wrong
    is no candidate; whoever names it is told."""
    found = {}
    for name in sorted(members(group)):
        with contextlib.suppress(ValueError):
            flat = _flat(spec_of(_sections_of(group, name)))
            start = "" if group == "preset" else f"{group}."
            found[name] = {key: value for key, value in flat.items() if key.startswith(start)}
    return found


def _sections_of(group: str, name: str) -> Values:
    return preset_values(name) if group == "preset" else {group: load_member(group, name)}


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


def layer_rule(values: Sections, common: Sections) -> Values:
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


def key_of(values: Sections) -> str:
    """The same text for settings that mean the same tile."""
    return repr(sorted(_flat(spec_of(values)).items()))


def add_inference(found: Values, values: Sections) -> None:
    """Adds the nearest preset of programming, and what differs from it."""
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
