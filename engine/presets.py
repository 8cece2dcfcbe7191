"""Presets by name: where YAML members lie, how they are read, and `preset(name)` for Python."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.algorithms import find_algorithm
from engine.config.merge import overlay
from engine.config.sections import Parameters, declarations, read_settings
from engine.inference.settings import InferenceSpec
from engine.readers.plain import read_text
from engine.readers.wording import brief, shortened, unknown
from engine.readers.yaml_text import parse_yaml, read_yaml
from engine.settings import UserError, data_dirs
from engine.tile.settings import TILE_PARTS, TileSpec, device_keys
from engine.trust.code import check_code_in

__all__ = ("overlay", "read_yaml")  # others take them from here
HOMES = ("presets", "conf")
PARTS = ("device", "tile", "algorithm")
GLOBAL = "_global_"
PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
# Members that are composed into one another, before it must be a mistake or an attack.
MOST_MEMBERS, MOST_LEVELS = 100, 10


def nearest(name: str, names: Iterable[str], more: str = "") -> str:
    """The end of an error line: the nearest valid name, or all of them if none is near. `more` is
    the command that lists them."""
    return unknown(name, names, more)


@dataclass(frozen=True)
class Member:
    """The file of a member: its values, and the place in the configuration that its first lines
    name (`# @package _global_`), empty for that of its group."""

    path: Path
    values: dict[str, Any]
    package: str


def read_member(path: Path) -> Member:
    """The member in a file. Raises UserError with file, line and key."""
    text = read_text(path)
    found = next(filter(None, map(PACKAGE.match, _comments(text))), None)
    return Member(path, parse_yaml(text, path), found[1] if found else "")


def _comments(text: str) -> Iterator[str]:
    """The lines before the first value."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return
        yield line.strip()


class Trail:
    """The members on the way from a first one to those that its defaults name in turn."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.count = 0

    def enter(self, name: str) -> None:
        """One step further. Raises UserError for a circle, and for members without end."""
        self.count += 1
        if name in self.names:
            circle = " -> ".join([*self.names[self.names.index(name) :], name])
            raise UserError(f"defaults go in a circle: {shortened(circle, 200)}")
        if self.count > MOST_MEMBERS or len(self.names) >= MOST_LEVELS:
            raise UserError(
                f"defaults of {self.names[0]} name more than {MOST_MEMBERS} members in turn, "
                f"or {MOST_LEVELS} levels of them"
            )
        self.names.append(name)

    def leave(self) -> None:
        """Back to where the last step began."""
        self.names.pop()


def groups() -> dict[str, list[Path]]:
    """Every group with its folders, the user's own first."""
    found: dict[str, list[Path]] = {}
    for root in data_dirs():
        for home in HOMES:
            for folder in sorted(p for p in (root / home).glob("*") if p.is_dir()):
                if folder.name == "hydra":  # would be settings of Hydra itself
                    continue
                found.setdefault(folder.name, []).append(folder)
    return found


def members(group: str) -> dict[str, list[Path]]:
    """Every member of a group with its files: the first is used, further ones are shadowed by
    it."""
    found: dict[str, list[Path]] = {}
    for folder in groups().get(group, []):
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(
                path.relative_to(folder).with_suffix("").as_posix(), []
            ).append(path)
    return found


def find_member(group: str, name: str) -> Path:
    """The file of a member. Raises UserError with the nearest name."""
    found = members(group)
    if not isinstance(name, str) or name not in found:
        hint = nearest(name, found, f"aihw ls {group}")
        raise UserError(f"no {group} {brief(name)}; {hint}")
    return found[name][0]


def load_member(group: str, name: str, trail: Trail | None = None) -> dict[str, Any]:
    """The values of one member with the members that its defaults name, packages resolved. Raises
    UserError if it names code that was not permitted."""
    trail = trail or Trail()
    path = find_member(group, name)
    values = read_yaml(path)
    check_code_in(values, path)
    trail.enter(f"{group}/{name}")
    whole = with_defaults(values, group, trail)
    trail.leave()
    return whole


def with_defaults(
    values: Mapping[str, Any], group: str = "", trail: Trail | None = None
) -> dict[str, Any]:
    """The values of a member of `group` over those of the members that its defaults name, as
    Hydra composes them."""
    trail = trail or Trail()
    own = {key: value for key, value in values.items() if key != "defaults"}
    entries = values.get("defaults") or []
    if not isinstance(entries, list):
        raise UserError("defaults must be a list of `- group: name` lines")
    if "_self_" not in entries:
        entries = [*entries, "_self_"]
    result: dict[str, Any] = {}
    for entry in entries:
        part = own if entry == "_self_" else _default(entry, group, trail)
        result = overlay(result, part)
    return result


def _default(entry: Any, group: str, trail: Trail) -> dict[str, Any]:
    """What one entry of a defaults list brings, at its place."""
    if isinstance(entry, str):
        return load_member(group, entry, trail)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UserError(f"defaults entry {brief(entry)} must be `group: name`")
    key, option = next(iter(entry.items()))
    if not option:
        return {}
    target, _, package = (
        key.removeprefix("override ").removeprefix("optional ").partition("@")
    )
    target = target.strip().removeprefix("/")
    loaded = load_member(target, option, trail)
    for part in reversed((package or target).split(".")):
        loaded = {part: loaded}
    return loaded


def inference(name: str, **changes: Any) -> InferenceSpec:
    """How weights are programmed, by a preset: `inference("pcm", times=["1h"],
    noise={"drift_scale": 0.5})`."""
    try:
        return InferenceSpec.from_config(
            overlay(load_member("inference", name), changes)
        )
    except ValueError as error:
        raise UserError(f"inference {name!r}: {error}") from None


def label_of(part: str, section: Mapping[str, Any]) -> str:
    """What a device, tile or algorithm is called: the preset that it was made from, changed values
    or not; else the name of its model, without the folders of a file."""
    model = str(section.get("model") or section.get("name") or "")
    name = (
        Path(model).name if model.partition(":")[0].endswith((".py", ".csv")) else model
    )
    about = " ".join(str(section.get("about") or "").split())
    return _by_about(part).get(about, name) if about else name


@functools.cache
def _by_about(part: str) -> dict[str, str]:
    """Names of the presets of a part by what they say about themselves, which is written into every
    run."""
    found = {}
    for name, paths in members(part).items():
        try:
            about = read_yaml(paths[0]).get("about")
        except UserError:
            continue  # `aihw ls` and `aihw validate` say what is wrong with it
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
            f.name
            for f in fields(
                find_algorithm(config["algorithm"].get("name", "sgd")).Settings
            )
        },
        "tile": set(TILE_PARTS),
        "device": {
            "model",
            *device_keys(config["device"].get("model", "constant_step")),
        },
    }
    for key, change in changes.items():
        if key in PARTS:
            continue
        part = next(
            (p for p in ("algorithm", "tile", "device") if key in known[p]), None
        )
        if part is None:
            raise UserError(
                f"preset {name!r} has no setting {key!r}; {nearest(key, set().union(*known.values()))}"
            )
        config[part] = overlay(config[part], {key: change})
    try:
        spec = TileSpec.from_config(config)
        kind = find_algorithm(spec.algorithm.name).Settings
        where = f"algorithm.{spec.algorithm.name}"
        checked = read_settings(kind, spec.algorithm.params, where)
        spec.algorithm.params = Parameters(asdict(checked), declarations(kind))
    except ValueError as error:
        raise UserError(f"preset {name!r}: {error}") from None
    return spec
