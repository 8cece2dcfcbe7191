"""A recipe is a stranger's text: found by name or path, read plainly, and refused if it reaches
outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.presets import find_member, groups, nearest, read_yaml
from engine.settings import UserError, data_dirs, user_path

DEFAULT = "digits"
OPTIONAL = ("preset", "inference")
STANDARD = (("device", "gokmen_vlasov"), ("tile", "preset"), ("algorithm", "sgd"), ("preset", None), ("model", "mlp"),
            ("dataset", "digits"), ("optimizer", "analog_sgd"), ("run", "default"))  # fmt: skip
NAME = re.compile(r"^[\w][\w.+-]*(/[\w][\w.+-]*)*\Z")
PACKAGE = re.compile(r"^(_global_|_group_|[A-Za-z]\w*(\.[A-Za-z]\w*)*)\Z")
INTERPOLATION = re.compile(r"\$\{\s*(\.*[A-Za-z_][\w.\[\]]*|oc\.select\s*:[^${}]*)\s*\}")


@dataclass(frozen=True)
class Recipe:
    """A recipe as it stands in its file, its defaults completed."""

    name: str
    path: Path
    values: dict[str, Any]
    defaults: list[Any]

    @property
    def extends(self) -> bool:
        """Whether it builds on another recipe beside it, which then names the groups."""
        return any(isinstance(entry, str) and entry != "_self_" for entry in self.defaults)


def recipes() -> dict[str, list[Path]]:
    """Every recipe by name (`basics/digits`) with its files: the first is used, it shadows the
    others."""
    found: dict[str, list[Path]] = {}
    for root in data_dirs():
        folder = root / "experiments"
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def find_recipe(name: str) -> tuple[str, Path]:
    """Name and file of `conf=NAME` or `conf=FILE.yaml`. Raises UserError with the nearest name."""
    if name.endswith((".yaml", ".yml")):
        path = user_path(name)
        if not path.is_file():
            raise UserError(f"conf: no file {path}")
        return path.stem, path.resolve()
    found = recipes()
    if name in found:
        return name.removeprefix("basics/"), found[name][0]
    stems: dict[str, list[str]] = {}
    for full in found:
        stems.setdefault(full.rpartition("/")[2], []).append(full)
    if len(stems.get(name, [])) > 1:
        raise UserError(f"conf: {name!r} is ambiguous; write one of {', '.join(stems[name])}")
    if name in stems:
        return stems[name][0].removeprefix("basics/"), found[stems[name][0]][0]
    if Path(f"{name}.yaml").is_file():
        raise UserError(f"conf: no recipe {name!r}; for the file write conf={name}.yaml")
    raise UserError(f"conf: no recipe {name!r}; {nearest(name, [*stems, *found])}")


def read_recipe(conf: str) -> Recipe:
    """The recipe, checked, and with it every file that its defaults name."""
    name, path = find_recipe(conf)
    values = read_yaml(path)
    check_text(path, values)
    run = values.get("run")
    folder = str(run.get("dir", "")) if isinstance(run, dict) else ""
    if Path(folder).is_absolute() or ".." in Path(folder).parts or folder.startswith("~"):
        raise UserError(
            f"{path}: run.dir {folder!r} reaches outside; a recipe may name a folder below the current one"
        )
    own = values.get("name", name)
    if not isinstance(own, str) or not NAME.match(own) or ".." in own:
        raise UserError(
            f"{path}: name {own!r} cannot be the name of a folder (letters, digits, _ - . and /)"
        )
    defaults = values.pop("defaults", [])
    for group, option, package in entries(path, defaults):
        check_member(path, group, option, package)
    return Recipe(own, path, values, _completed(defaults))


def check_text(path: Path, values: dict[str, Any]) -> None:
    """Refuse a `hydra` node, a package in hydra's part, and interpolations outside the short
    list."""
    if "hydra" in values:
        raise UserError(f"{path}: a `hydra:` node is not allowed here")
    header = re.search(r"^#\s*@package\s+(\S+)", path.read_text(encoding="utf-8"), re.M)
    if header and (not PACKAGE.match(header[1]) or header[1].startswith("hydra")):
        raise UserError(f"{path}: package {header[1]!r} is not allowed")
    check_interpolations(str(path), values)


def check_interpolations(where: str, values: dict[str, Any]) -> None:
    """Refuse resolvers outside the short list: they could read the environment, or worse."""
    for text in _texts(values):
        if "${" in INTERPOLATION.sub("", text):
            allowed = "only ${key} and ${oc.select:key,default} are"
            raise UserError(f"{where}: interpolation {text!r} is not allowed; {allowed}")


def entries(path: Path, defaults: Any) -> Iterator[tuple[str, str | None, str]]:
    """(group, option, package) of a defaults list. Raises UserError for anything that reaches
    outside."""
    if not isinstance(defaults, list):
        raise UserError(f"{path}: defaults must be a list of `- group: name` lines")
    for entry in defaults:
        if entry == "_self_":
            continue
        pair = (
            next(iter(entry.items()))
            if isinstance(entry, dict) and len(entry) == 1
            else ("", entry)
        )
        key, option = pair
        target, _, package = (
            str(key).removeprefix("override ").removeprefix("optional ").strip().partition("@")
        )
        group = target.removeprefix("/")
        allowed = option is None or (
            isinstance(option, str) and NAME.match(option) and ".." not in option
        )
        if not allowed or (package and (not PACKAGE.match(package) or package.startswith("hydra"))):
            raise UserError(
                f"{path}: defaults entry {entry!r} is not allowed: name a member of a group, no paths"
            )
        if group and group not in groups():
            raise UserError(f"{path}: defaults: no group {group!r}; {nearest(group, groups())}")
        yield group, option, package


def check_member(path: Path, group: str, option: str | None, package: str) -> None:
    """Check the file of one defaults entry, and the files that it names in turn."""
    if option is None:
        if group not in OPTIONAL and not package:
            raise UserError(
                f"{path}: defaults: {group} needs a name; {nearest('', members_of(group))}"
            )
        return
    try:
        member = find_member(group, option) if group else _sibling(path, option)
    except UserError as error:
        raise UserError(f"{error} (from {path})") from None
    values = read_yaml(member)
    check_text(member, values)
    for inner, name, where in entries(member, values.get("defaults", [])):
        check_member(member, inner or group, name, where)


def members_of(group: str) -> list[str]:
    """Names in a group."""
    from engine.presets import members

    return sorted(members(group))


def _sibling(path: Path, name: str) -> Path:
    sibling = path.parent / f"{name}.yaml"
    if not sibling.is_file() or sibling == path:
        raise UserError(f"no file {sibling}")
    return sibling


def _completed(defaults: list[Any]) -> list[Any]:
    """The defaults with every standard group; a preset comes after the groups that it overrides,
    own values last."""
    if any(isinstance(entry, str) and entry != "_self_" for entry in defaults):
        return defaults
    plain = {
        k: v
        for e in defaults
        if isinstance(e, dict)
        for k, v in e.items()
        if not k.startswith("override ")
    }
    rest = [e for e in defaults if isinstance(e, dict) and not set(e) & {k for k, _ in STANDARD}]
    overrides = [e for e in rest if next(iter(e)).startswith("override ")]
    others = [e for e in rest if e not in overrides]
    return [{k: plain.get(k, v)} for k, v in STANDARD] + others + ["_self_"] + overrides


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
