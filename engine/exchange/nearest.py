"""Settings as a recipe says them: the nearest presets, and what differs from them.

A setting is known by the dotted key that it has in a recipe; `flat` tables hold all settings of a
tile by these keys, so that two tiles are compared key by key."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from engine.algorithms import find_algorithm
from engine.inference import InferenceSpec
from engine.presets import inference, load_member, members, preset_values
from engine.settings import data_dirs
from engine.tile.settings import DeviceSpec, TileSpec, device_spec, read_settings

Values = dict[str, Any]
Sections = Mapping[str, Any]
# A preset without parameters of its own: a device that resembles none starts from it.
PLAIN = "ideal"
# When to read is the user's choice, not a property of the imported model.
USERS_CHOICE = ("times", "repeats")


def spec_of(values: Sections) -> TileSpec:
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
    preset, from_preset = _nearest(wanted, _members("preset"))
    device, of_device = _nearest_device(wanted)
    tile, of_tile = _nearest(_part("tile", wanted), _members("tile"))

    # The member of the algorithm is given by its name; only its settings can differ.
    algorithm = load_member("algorithm", spec.algorithm.name)
    usual = spec_of({**common, "algorithm": algorithm})
    of_algorithm = _changes(wanted, _flat(usual))
    from_parts = {**of_device, **of_tile, **of_algorithm}

    if preset and len(from_preset) <= len(from_parts):
        return {"defaults": [{"preset": preset}], **nested(from_preset)}
    found: Values = {
        "defaults": [
            {"device": device or PLAIN},
            {"tile": tile},
            {"algorithm": spec.algorithm.name},
        ]
    }
    if not device and spec.device.model != PLAIN:
        source = common["device"].get("source", about)
        found["device"] = {"about": about, "source": source, **_short(spec.device)}
    return {**found, **nested(from_parts)}


def layer_rule(values: Sections, common: Sections) -> Values:
    """What a rule of `layers` says of a layer: it lies over the common settings, unless it names
    another device or algorithm, which takes nothing over."""
    layer, shared = spec_of(values), spec_of(common)
    changes = _changes(_flat(layer), _flat(shared))
    found = nested(_part("tile", changes))
    if layer.device != shared.device:
        alike = layer.device.model == shared.device.model
        inner = nested(_part("device", changes)).get("device", {})
        found["device"] = inner if alike else _short(layer.device)
    if layer.algorithm != shared.algorithm:
        found["algorithm"] = _algorithm_rule(layer, shared, values)
    return found


def add_inference(found: Values, values: Sections) -> None:
    """Adds the nearest preset of programming, and what differs from it."""
    wanted = _flat_inference(InferenceSpec.from_config(values))
    best: tuple[str, Values] = "", {}
    for name in sorted(members("inference")):
        base = _flat_inference(inference(name))
        # Another noise model has other parameters: nothing of it is near.
        if base["noise_model"] != wanted["noise_model"] or set(base) != set(wanted):
            continue
        changes = _changes(wanted, base)
        for key in USERS_CHOICE:
            changes.pop(key, None)
        if not best[0] or len(changes) < len(best[1]):
            best = name, changes
    name, changes = best
    if not name:
        found["inference"] = dict(values)
        return
    found["defaults"].append({"inference": name})
    if changes:
        found["inference"] = nested(changes)


def same_settings(one: Sections, other: Sections) -> bool:
    """Whether two sets of sections make the same tile."""
    flat, wanted = _flat(spec_of(one)), _flat(spec_of(other))
    return set(flat) == set(wanted) and not _changes(wanted, flat)


def key_of(values: Sections) -> str:
    """The same text for settings that mean the same tile."""
    return repr(sorted(_flat(spec_of(values)).items()))


def nested(flat: Mapping[str, Any]) -> Values:
    """Sections of a recipe from dotted keys."""
    found: Values = {}
    for key, value in flat.items():
        *parts, last = key.split(".")
        section = found
        for part in parts:
            section = section.setdefault(part, {})
        section[last] = value
    return found


def _algorithm_rule(layer: TileSpec, shared: TileSpec, values: Sections) -> Values:
    """What a rule says of the algorithm of a layer, with the devices of its arrays."""
    name = layer.algorithm.name
    base = shared
    if name != shared.algorithm.name:
        base = spec_of({"algorithm": {"name": name}, "device": values["device"]})
    changes = _part("algorithm", _changes(_flat(layer), _flat(base)))
    found: Values = {"name": name, **nested(changes).get("algorithm", {})}
    for array, device in layer.algorithm.devices.items():
        found[array] = _short(device)
    return found


def _nearest_device(wanted: Mapping[str, Any]) -> tuple[str, Values]:
    """The nearest preset of the device; none if it is shorter to say all that is not as usual."""
    asked = _part("device", wanted)
    name, changes = _nearest(asked, _members("device"))
    short = _short(device_spec(nested(asked)["device"]))
    if len(changes) < len(list(_leaves(short))):
        return name, changes
    return "", {}


def _nearest(
    wanted: Mapping[str, Any], candidates: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Values]:
    """The candidate with the fewest settings that differ, among those of the same kinds."""
    best: tuple[str, Values] = "", {}
    for name, flat in candidates.items():
        if not _of_a_kind(flat, wanted):
            continue
        changes = _changes(wanted, flat)
        if not best[0] or len(changes) < len(best[1]):
            best = name, changes
    return best


def _of_a_kind(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two tables have the same settings, and the same models and algorithm, which decide
    what all others mean."""
    if set(one) != set(other):
        return False
    kinds = [key for key in one if key.endswith((".model", "algorithm.name"))]
    return all(one[key] == other[key] for key in kinds)


def _members(group: str) -> dict[str, Values]:
    # The user's own folder may change in the life of a process, as in a notebook or in tests.
    return _members_of(group, tuple(data_dirs()))


@functools.cache
def _members_of(group: str, places: tuple[Any, ...]) -> dict[str, Values]:
    """Every member of a group with all its settings, flat."""
    found: dict[str, Values] = {}
    for name in sorted(members(group)):
        # A file of the user's own that is wrong is no candidate; whoever names it is told.
        with contextlib.suppress(ValueError):
            if group == "preset":
                found[name] = _flat(spec_of(preset_values(name)))
            else:
                spec = spec_of({group: load_member(group, name)})
                found[name] = _part(group, _flat(spec))
    return found


def _changes(wanted: Mapping[str, Any], base: Mapping[str, Any]) -> Values:
    """The settings in `wanted` that differ from `base`, or are not there."""
    return {
        key: value
        for key, value in wanted.items()
        if key not in base or not _alike(key, value, base[key])
    }


def _alike(key: str, one: Any, other: Any) -> bool:
    """Whether two values mean the same."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return bool(one == other)
    if key.endswith("_res"):
        # A converter of 254 steps is one with a step of 1/254.
        one, other = (1 / value if value > 1 else value for value in (one, other))
    # Presets print their numbers; aihwkit computes some of its own, such as 0.3 / 0.75.
    return math.isclose(one, other, rel_tol=1e-12)


def _flat(spec: TileSpec) -> Values:
    """All settings of a tile by dotted keys of a recipe."""
    values = asdict(spec)
    device, algorithm = values.pop("device"), values.pop("algorithm")
    found = dict(_leaves(_device(device), "device."))
    found["algorithm.name"] = algorithm["name"]
    found |= _leaves(algorithm["params"], "algorithm.")
    for array, device in algorithm["devices"].items():
        found |= _leaves(_device(device), f"algorithm.{array}.")
    return found | dict(_leaves(values, "tile."))


def _flat_inference(spec: InferenceSpec) -> Values:
    return dict(_leaves(asdict(spec)))


def _part(section: str, flat: Mapping[str, Any]) -> Values:
    """The settings of one section."""
    return {key: value for key, value in flat.items() if key.startswith(f"{section}.")}


def _device(values: Mapping[str, Any]) -> Values:
    """A device as it stands in a recipe: its model beside its parameters."""
    found = {"model": values["model"], **values["params"]}
    if values["cells"]:
        found["cells"] = {name: _device(cell) for name, cell in values["cells"].items()}
    return found


def _short(device: DeviceSpec) -> Values:
    """A device without the parameters that have their usual values."""
    usual = dict(_leaves(DeviceSpec(device.model, {}, device.cells).params))
    changes = _changes(dict(_leaves(device.params)), usual)
    found = {"model": device.model, **nested(changes)}
    if device.cells:
        found["cells"] = {name: _short(cell) for name, cell in device.cells.items()}
    return found


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; mappings are gone into."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
