"""A recipe is a stranger's text: found by name or path, read plainly, and refused if it reaches
outside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihw_cli.composition.interpolation import check_interpolations
from aihw_cli.composition.names import OPTIONAL, needs_no_member, spelled_out
from aihw_cli.composition.recorded import (
    is_home,
    is_recorded,
    reaches_outside,
    read_recorded,
)
from aihw_cli.composition.source import PRIMARY
from aihw_cli.schema import Field, Section, full_schema
from engine.presets import (
    GLOBAL,
    Member,
    Trail,
    find_member,
    groups,
    members,
    nearest,
    read_member,
)
from engine.readers.wording import brief, listed
from engine.settings import UserError, data_dirs, user_path

DEFAULT = "digits"
STANDARD = (("device", "gokmen_vlasov"), ("tile", "preset"), ("algorithm", "sgd"), ("preset", None), ("model", "mlp"),
            ("dataset", "digits"), ("optimizer", "analog_sgd"), ("run", "default"))  # fmt: skip
NAME = re.compile(r"^[\w][\w.+-]*(/[\w][\w.+-]*)*\Z")
PACKAGE = re.compile(r"^(_global_|_group_|[A-Za-z]\w*(\.[A-Za-z]\w*)*)\Z")
# The longest name of a recipe whose run folders every file system takes.
NAME_BYTES = 150
# Keys of a file that Hydra composes, at half a millisecond each.
MOST_KEYS = 2000


@dataclass(frozen=True)
class Recipe:
    """A recipe as it stands in its file, its defaults completed."""

    name: str
    path: Path
    values: dict[str, Any]
    defaults: list[Any]
    # What a run was done with: all sections are complete.
    recorded: bool = False

    @property
    def extends(self) -> bool:
        """Whether it builds on another recipe beside it, which then names the groups."""
        return any(
            isinstance(entry, str) and entry != "_self_" for entry in self.defaults
        )


def recipes() -> dict[str, list[Path]]:
    """Every recipe by name (`basics/digits`) with its files: the first is used, it shadows the
    others."""
    found: dict[str, list[Path]] = {}
    for root in data_dirs():
        folder = root / "experiments"
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(
                path.relative_to(folder).with_suffix("").as_posix(), []
            ).append(path)
    return found


def find_recipe(name: str) -> tuple[str, Path]:
    """Name and file of `conf=NAME` or `conf=FILE.yaml`. Raises UserError with the nearest name."""
    if name.endswith((".yaml", ".yml")):
        path = user_path(name)
        if not path.exists():
            raise UserError(f"conf: no file {path}")
        # Not resolve(): it fails for links that go in a circle, which the reader has a line for.
        return path.stem, Path(os.path.realpath(path))
    found = recipes()
    if name in found:
        return name.removeprefix("basics/"), found[name][0]
    stems: dict[str, list[str]] = {}
    for full in found:
        stems.setdefault(full.rpartition("/")[2], []).append(full)
    if len(stems.get(name, [])) > 1:
        raise UserError(
            f"conf: {name!r} is ambiguous; write one of {', '.join(stems[name])}"
        )
    if name in stems:
        return stems[name][0].removeprefix("basics/"), found[stems[name][0]][0]
    if user_path(f"{name}.yaml").is_file():
        raise UserError(
            f"conf: no recipe {name!r}; for the file write conf={name}.yaml"
        )
    hint = nearest(name, [*stems, *found], "aihw ls recipe")
    raise UserError(f"conf: no recipe {brief(name)}; {hint}")


def read_recipe(conf: str) -> Recipe:
    """The recipe, checked, and with it every file that its defaults name."""
    name, path = find_recipe(conf)
    recorded = is_recorded(path)
    member = Member(path, read_recorded(path), "") if recorded else read_member(path)
    check_text(member)
    values = spelled_out(path, member.values)
    run = values.get("run")
    folder = str(run.get("dir", "")) if isinstance(run, dict) else ""
    if reaches_outside(folder) and not (recorded and is_home(folder, path)):
        raise UserError(
            f"{path}: run.dir {folder!r} reaches outside; a recipe may name a folder below the current one"
        )
    own = values.get("name", name)
    if not is_name(own):
        raise UserError(f"{path}: name {brief(own)} {NO_NAME}")
    defaults = values.pop("defaults", [])
    trail = Trail()
    trail.enter(str(path))
    for group, option, package in entries(path, defaults):
        check_member(path, group, option, package, trail)
    recipe = Recipe(own, path, values, _completed(defaults, values), recorded)
    if recipe.extends:
        _check_size(path, values)
        _check_sections(path, values)
    return recipe


NO_NAME = f"cannot be the name of a folder (letters, digits, _ - . and /, {NAME_BYTES} at most)"


def is_name(name: Any) -> bool:
    """Whether a recipe may be called so: its runs lie in a folder of this name."""
    if not isinstance(name, str) or ".." in name or len(name.encode()) > NAME_BYTES:
        return False
    return NAME.match(name) is not None


def check_text(member: Member) -> None:
    """Refuse a `hydra` node, a package in hydra's part, and interpolations outside the short
    list."""
    if "hydra" in member.values:
        raise UserError(f"{member.path}: a `hydra:` node is not allowed here")
    package = member.package
    if package and (not PACKAGE.match(package) or package.startswith("hydra")):
        raise UserError(f"{member.path}: package {package!r} is not allowed")
    check_interpolations(str(member.path), member.values)


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
            str(key)
            .removeprefix("override ")
            .removeprefix("optional ")
            .strip()
            .partition("@")
        )
        group = target.removeprefix("/")
        allowed = option is None or (
            isinstance(option, str) and NAME.match(option) and ".." not in option
        )
        if not allowed or (
            package and (not PACKAGE.match(package) or package.startswith("hydra"))
        ):
            raise UserError(
                f"{path}: defaults entry {entry!r} is not allowed: name a member of a group, no paths"
            )
        if group and group not in groups():
            raise UserError(
                f"{path}: defaults: no group {group!r}; {nearest(group, groups())}"
            )
        yield group, option, package


def check_member(
    path: Path, group: str, option: str | None, package: str, trail: Trail | None = None
) -> None:
    """Check the file of one defaults entry, and the files that it names in turn."""
    if option is None:
        if group not in OPTIONAL and not package:
            raise UserError(
                f"{path}: defaults: {group} needs a name; {nearest('', members(group), f'aihw ls {group}')}"
            )
        return
    trail = trail or Trail()
    try:
        file = find_member(group, option) if group else _sibling(path, option)
        trail.enter(f"{group}/{option}" if group else str(file))
    except UserError as error:
        raise UserError(f"{error} (from {path})") from None
    member = read_member(file)
    check_text(member)
    values = member.values if group else spelled_out(file, member.values)
    _check_size(file, values)
    if member.package == GLOBAL:
        _check_sections(file, values)
    for inner, name, where in entries(file, values.get("defaults", [])):
        check_member(file, inner or group, name, where, trail)
    trail.leave()


def _check_size(path: Path, values: dict[str, Any]) -> None:
    """Refuse more keys than Hydra composes in a second or two."""
    keys = _count_keys(values)
    if keys > MOST_KEYS:
        raise UserError(
            f"{path}: {keys} keys, more than the {MOST_KEYS} that can be composed"
        )


def _check_sections(
    path: Path, values: dict[str, Any], schema: Section | None = None, prefix: str = ""
) -> None:
    """Refuse a single value where a section belongs: Hydra would not say where it stands."""
    for key, entry in (schema or full_schema({})).items():
        if isinstance(entry, Field) or key not in values:
            continue
        if not isinstance(values[key], dict):
            what = f"{prefix}{key} is a section with the keys {listed(entry)}"
            raise UserError(f"{path}: {what}, not {brief(values[key])}")
        _check_sections(path, values[key], entry, f"{prefix}{key}.")


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _sibling(path: Path, name: str) -> Path:
    sibling = path.parent / f"{name}.yaml"
    if not sibling.is_file() or sibling == path or name == PRIMARY:
        raise UserError(f"no file {sibling}")
    return sibling


def _completed(defaults: list[Any], values: Mapping[str, Any]) -> list[Any]:
    """The defaults with every standard group that `values` do not make needless; a preset comes
    after the groups that it overrides, own values last."""
    if any(isinstance(entry, str) and entry != "_self_" for entry in defaults):
        return defaults
    plain = {
        k: v
        for e in defaults
        if isinstance(e, dict)
        for k, v in e.items()
        if not k.startswith("override ")
    }
    rest = [
        e
        for e in defaults
        if isinstance(e, dict) and not set(e) & {k for k, _ in STANDARD}
    ]
    overrides = [e for e in rest if next(iter(e)).startswith("override ")]
    others = [e for e in rest if e not in overrides]
    standard = {k: None if needs_no_member(k, values) else name for k, name in STANDARD}
    members_of = [{group: plain.get(group, name)} for group, name in standard.items()]
    return [*members_of, *others, "_self_", *overrides]
