"""Presets by name: where YAML members lie, how they are read, and `preset(name)` for Python."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from engine.algorithms import find_algorithm
from engine.inference.settings import InferenceSpec
from engine.settings import UserError, data_dirs
from engine.tile.settings import TILE_PARTS, TileSpec, device_keys, read_settings
from engine.trust.code import check_code_in
from engine.trust.files import read_text

HOMES = ("presets", "conf")
PARTS = ("device", "tile", "algorithm")


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error line: the nearest valid name, or all of them if none is near."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    return f"nearest: {near[0]}" if near else f"there are {', '.join(names) or 'none'}"


@functools.cache
def _loader() -> type:
    """YAML's safe loader, with `1e-3` read as a number (as the recipes' composition does) and no
    double keys."""
    import re

    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} twice", key.start_mark
                    )
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    number = re.compile(r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789."))
    return Loader


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError with file and line."""
    import yaml

    try:
        values = yaml.load(read_text(path, follow=True), Loader=_loader())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise UserError(f"{path}: expected `key: value` lines, found {type(values).__name__}")
    return values


def groups() -> dict[str, list[Path]]:
    """Every group with its folders, the user's own first."""
    found: dict[str, list[Path]] = {}
    for root in data_dirs():
        for home in HOMES:
            for folder in sorted(p for p in (root / home).glob("*") if p.is_dir()):
                found.setdefault(folder.name, []).append(folder)
    return found


def members(group: str) -> dict[str, list[Path]]:
    """Every member of a group with its files: the first is used, further ones are shadowed by
    it."""
    found: dict[str, list[Path]] = {}
    for folder in groups().get(group, []):
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def find_member(group: str, name: str) -> Path:
    """The file of a member. Raises UserError with the nearest name."""
    found = members(group)
    if name not in found:
        raise UserError(f"no {group} {name!r}; {nearest(name, found)}")
    return found[name][0]


def overlay(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top` over it; mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = (
            overlay(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return merged


def load_member(group: str, name: str) -> dict[str, Any]:
    """The values of one member with the members that its defaults name, packages resolved. Raises
    UserError if it names code that was not permitted."""
    path = find_member(group, name)
    values = read_yaml(path)
    check_code_in(values, path)
    return with_defaults(values)


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a member over those of the members that its defaults name."""
    values = dict(values)
    result: dict[str, Any] = {}
    for entry in values.pop("defaults", []):
        if isinstance(entry, dict):
            for key, option in entry.items():
                target, _, package = key.removeprefix("override ").lstrip("/").partition("@")
                if not option:
                    continue
                loaded = load_member(target, option)
                for part in reversed((package or target).split(".")):
                    loaded = {part: loaded}
                result = overlay(result, loaded)
    return overlay(result, values)


def inference(name: str, **changes: Any) -> InferenceSpec:
    """How weights are programmed, by a preset: `inference("pcm", times=["1h"],
    noise={"drift_scale": 0.5})`."""
    try:
        return InferenceSpec.from_config(overlay(load_member("inference", name), changes))
    except ValueError as error:
        raise UserError(f"inference {name!r}: {error}") from None


def label_of(part: str, section: Mapping[str, Any]) -> str:
    """What a device, tile or algorithm is called: the preset that it was made from, changed values
    or not; else the name of its model, without the folders of a file."""
    model = str(section.get("model") or section.get("name") or "")
    name = Path(model).name if model.partition(":")[0].endswith((".py", ".csv")) else model
    about = " ".join(str(section.get("about") or "").split())
    return _by_about(part).get(about, name) if about else name


@functools.cache
def _by_about(part: str) -> dict[str, str]:
    """Names of the presets of a part by what they say about themselves, which is written into every
    run."""
    found = {}
    for name, paths in members(part).items():
        about = read_yaml(paths[0]).get("about")
        if about:
            found[" ".join(str(about).split())] = name
    return found


def preset_values(name: str) -> dict[str, Any]:
    """`device`, `algorithm` and `tile` of a preset, or of a device preset with the standard
    periphery and plain SGD."""
    if name in members("preset") or name not in members("device"):
        values = load_member("preset", name)
    else:
        values = {"device": load_member("device", name)}
    defaults = {"tile": "preset", "algorithm": "sgd"}
    return {
        part: values[part] if part in values else load_member(part, defaults[part])
        for part in PARTS
    }


def preset(name: str, **changes: Any) -> TileSpec:
    """The tile specification of a preset: `preset("ecram", dw_min=0.001, forward={"out_noise":
    0.0})`.

    A change names a setting of the algorithm, a parameter of the device, a part of the tile
    (forward, backward, update, mapping, modifier and so on, as a mapping), or `device`, `tile`,
    `algorithm` with another member's name or a mapping."""
    config = preset_values(name)
    for key, change in changes.items():
        if key in PARTS:
            config[key] = (
                load_member(key, change)
                if isinstance(change, str)
                else overlay(config[key], change)
            )
    known = {
        "algorithm": {
            f.name for f in fields(find_algorithm(config["algorithm"].get("name", "sgd")).Settings)
        },
        "tile": set(TILE_PARTS),
        "device": {"model", *device_keys(config["device"].get("model", "constant_step"))},
    }
    for key, change in changes.items():
        if key in PARTS:
            continue
        part = next((p for p in ("algorithm", "tile", "device") if key in known[p]), None)
        if part is None:
            raise UserError(
                f"preset {name!r} has no setting {key!r}; {nearest(key, set().union(*known.values()))}"
            )
        config[part] = overlay(config[part], {key: change})
    try:
        spec = TileSpec.from_config(config)
        kind = find_algorithm(spec.algorithm.name).Settings
        spec.algorithm.params = asdict(
            read_settings(kind, spec.algorithm.params, f"algorithm.{spec.algorithm.name}")
        )
    except ValueError as error:
        raise UserError(f"preset {name!r}: {error}") from None
    return spec
