"""`device: ecram` in a recipe: the name of a member where its section could stand.

Everybody writes it, and it can mean one thing only: the member of that group. It is moved to the
defaults of the recipe, from where Hydra composes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aihw_cli.overrides import is_own_device, own_device_values
from engine.config.merge import names_kind
from engine.presets import groups, read_member
from engine.readers.wording import brief
from engine.settings import UserError
from engine.trust.code import SECTIONS as CODE_SECTIONS
from engine.trust.code import is_code

# Groups of which a run may have no member.
OPTIONAL = ("preset", "inference")


def spelled_out(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe, with the names of members moved to its defaults. Raises UserError
    for a group that both name."""
    found = dict(values)
    defaults = found.get("defaults", [])
    if not isinstance(defaults, list):
        return found  # refused where the entries are read
    chosen: dict[str, str | None] = {}
    for group in groups():
        section = found.get(group, {})
        if group == "device" and is_own_device(section):
            found[group] = own_device_values(section)
        elif group in CODE_SECTIONS and is_code(section):
            found[group] = {"name": section}
        elif isinstance(section, str) or (section is None and group in OPTIONAL):
            _refuse_second_name(path, defaults, group=group, name=section)
            chosen[group] = section
            del found[group]
    if chosen:
        found["defaults"] = _with_members(
            defaults, chosen, _groups_of_parents(path, defaults)
        )
    return found


def _with_members(
    defaults: list[Any], chosen: Mapping[str, str | None], inherited: set[str]
) -> list[Any]:
    """The defaults of a recipe with members beside them."""
    added = [{group: name} for group, name in chosen.items() if group not in inherited]
    replaced = [{f"override {g}": name} for g, name in chosen.items() if g in inherited]
    # Single values of a recipe lie over its members, and Hydra wants what is overridden last.
    end = defaults.index("_self_") if "_self_" in defaults else len(defaults)
    return [*defaults[:end], *added, *defaults[end:], *replaced]


def _groups_of_parents(path: Path, defaults: list[Any]) -> set[str]:
    """The groups that the recipes name on which this one builds."""
    found: set[str] = set()
    waiting, seen = (
        [path.parent / f"{e}.yaml" for e in defaults if isinstance(e, str)],
        {path},
    )
    while waiting:
        parent = waiting.pop()
        if parent in seen or not parent.is_file():
            continue  # what is wrong is said where the entries are read
        seen.add(parent)
        entries = spelled_out(parent, read_member(parent).values).get("defaults", [])
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str):
                waiting.append(path.parent / f"{entry}.yaml")
            elif isinstance(entry, dict):
                found.update(_group(key) for key in entry)
    return found


def _group(key: Any) -> str:
    """The group of a key in a defaults list: `override /device` is `device`."""
    return str(key).removeprefix("override ").strip().removeprefix("/")


def needs_no_member(group: str, values: Mapping[str, Any]) -> bool:
    """Whether a recipe says all about a group by itself, so that the standard member of the group
    would only add values of something else."""
    return names_kind(group, values.get(group))


def _refuse_second_name(
    path: Path, defaults: list[Any], *, group: str, name: Any
) -> None:
    for entry in defaults:
        named = entry if isinstance(entry, dict) else {}
        if group in map(_group, named):
            option = brief(next(iter(named.values())))
            raise UserError(
                f"{path}: {group} is {brief(name)} here and {option} in its defaults; keep one"
            )
