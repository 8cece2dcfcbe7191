"""From a recipe and `key=value` changes to one plain, complete, checked configuration."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aihw_cli import overrides
from aihw_cli.check import Checker
from aihw_cli.composition.interpolation import check_interpolations, resolve
from aihw_cli.composition.names import OPTIONAL
from aihw_cli.composition.recorded import is_home, is_recorded
from aihw_cli.composition.source import PRIMARY, recipe_folder
from aihw_cli.recipe import (
    DEFAULT,
    PACKAGE,
    Recipe,
    check_member,
    read_recipe,
    recipes,
)
from aihw_cli.schema import group_section
from engine.config.merge import KIND_KEY, KIND_KEYS, TEXTS, names_kind, overlay
from engine.presets import GLOBAL, PARTS, find_member, members, nearest, read_member
from engine.readers.wording import brief, first_line
from engine.settings import UserError
from engine.trust.text import visible

COMMAND_LINE = "command line"
# How Hydra begins what OmegaConf says about a file.
IN_MEMBER = re.compile(r"In '([^']*)': \w+ raised while composing config:\s*([^\n]*)")


@dataclass
class Composed:
    """A configuration ready for the engine, where each value came from, and remarks for the
    user."""

    values: dict[str, Any]
    origins: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compose(
    texts: Sequence[str],
    *,
    conf: str = "",
    allow_code: bool = False,
    shared: dict[str, Any] | None = None,
) -> Composed:
    """The configuration of one run. `conf=` among `texts` names the recipe. Raises UserError in one
    or two lines.

    What recipe and chosen members give does not depend on single values: the points of a sweep hand
    on a dictionary as `shared`, and it is worked out once for all points with the same choices."""
    conf, texts = split_conf(texts, conf)
    changes = overrides.read(texts)
    choices = [c for c in changes if c.choice]
    key = json.dumps([conf or DEFAULT, [c.text for c in choices]])
    memory = {} if shared is None else shared
    if key not in memory:
        memory[key] = _members(read_recipe(conf or DEFAULT), choices)
    path, result = copy.deepcopy(memory[key])
    values = result.values
    for change in changes:
        if not change.choice:
            check_interpolations(COMMAND_LINE, change.value, change.key)
            apply_change(values, change, result.origins)
    values = resolve(str(path), values)
    result.values = Checker(result.origins, allow_code).complete(values)
    _check_output_folders(result, path)
    return result


def _check_output_folders(composed: Composed, path: Path) -> None:
    """Refuse results and downloads outside the current folder, unless the command line asks for
    them; looked at last, as other files and interpolations may give the place."""
    folders = {"run.dir": composed.values["run"]["dir"]}
    if is_recorded(path) and is_home(folders["run.dir"], path):
        del folders[
            "run.dir"
        ]  # the command line named the folder by the run that lies in it
    if composed.values["dataset"]["download"]:
        folders["dataset.root"] = composed.values["dataset"]["root"]
    for key, folder in folders.items():
        where = (composed.origins.get(key) or [(str(path), None)])[-1][0]
        outside = (
            Path(folder).is_absolute()
            or ".." in Path(folder).parts
            or folder.startswith("~")
        )
        if where != COMMAND_LINE and (outside or not folder.isprintable()):
            raise UserError(
                f"{visible(where)}: {key} {folder!r} reaches outside; a recipe may name a folder "
                f"below the current one, {key}=FOLDER on the command line any"
            )


def _members(recipe: Recipe, choices: list[overrides.Change]) -> tuple[Path, Composed]:
    """The file of the recipe, and what it and the members of its groups give before any single
    value is changed."""
    _check_choices(recipe, choices)
    recipe = _without_replaced(recipe, choices)
    given = {
        key for entry in recipe.defaults if isinstance(entry, dict) for key in entry
    }
    # Hydra takes no null on its command line: such a group is emptied in the recipe itself.
    empty = {c.group: None for c in choices if c.value is None}
    defaults = [
        {k: empty.get(k, v) for k, v in e.items()} if isinstance(e, dict) else e
        for e in recipe.defaults
    ]
    named = [c for c in choices if c.value is not None]
    selected = [
        c.text if recipe.extends or "@" in c.key or c.group in given else f"+{c.text}"
        for c in named
    ]
    # Values of a recipe that stands for itself lie over all members: Hydra need not carry them.
    carried = recipe.values if recipe.extends else {}
    values, chosen = _hydra(
        replace(recipe, defaults=defaults, values=carried), selected
    )
    if not recipe.extends:
        values = overlay(values, recipe.values)
    for group in _groups_of_other_kind(recipe):
        values[group] = _fitting(group, values[group], recipe.values[group])
    values.setdefault("name", recipe.name)
    values.pop("reproduce", None)  # what the paper says of it decides nothing
    return recipe.path, Composed(
        values, _origins(recipe, chosen), list(_shadows(recipe, chosen))
    )


def _without_replaced(recipe: Recipe, choices: list[overrides.Change]) -> Recipe:
    """A recipe without the sections that members on the command line replace: those that say by
    themselves what they are about, and all of a recorded run, which are complete."""
    groups = {change.group for change in choices if "@" not in change.key}
    replaced = {
        g for g in groups if recipe.recorded or names_kind(g, recipe.values.get(g))
    }
    if recipe.recorded and "preset" in groups:
        replaced |= set(PARTS)
    values = {key: value for key, value in recipe.values.items() if key not in replaced}
    return replace(recipe, values=values)


def _groups_of_other_kind(recipe: Recipe) -> list[str]:
    """The groups for which a recipe names another model, device or the like than the recipe on
    which it builds."""
    kinds = {g: v[KIND_KEY[g]] for g, v in recipe.values.items() if names_kind(g, v)}
    if not recipe.extends or not kinds:
        return []
    below, _ = _hydra(replace(recipe, values={}), [])
    found = {group: (below.get(group) or {}).get(KIND_KEY[group]) for group in kinds}
    return [group for group, kind in kinds.items() if found[group] not in (None, kind)]


def _fitting(
    group: str, section: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """A section of a recipe over that of another kind below it: what the new kind has as well
    stays, such as the bounds of a device; the rest means nothing to it."""
    try:
        known = group_section(group, section)
    except ValueError:
        return section  # no such kind: the check of all sections says so, with the file
    kept = known.keys() - set(TEXTS)
    return {key: value for key, value in section.items() if key in kept or key in given}


def split_conf(texts: Sequence[str], conf: str = "") -> tuple[str, list[str]]:
    """The recipe of the command line, and the other overrides."""
    named = [t.removeprefix("conf=") for t in texts if t.startswith("conf=")]
    if len(named) > 1:
        raise UserError(f"conf= is given {len(named)} times")
    if named == [""]:
        raise UserError(
            "conf= needs the name of a recipe or a file; `aihw ls recipe` lists them"
        )
    return (named[0] if named else conf), [
        t for t in texts if not t.startswith("conf=")
    ]


def hydra_options() -> dict[str, Any]:
    """What this Hydra wants to know of compatibility: 1.3 warns if it is not told, 1.4 if it is."""
    import hydra

    major, minor = (int(part) for part in hydra.__version__.split(".")[:2])
    return {} if (major, minor) >= (1, 4) else {"version_base": None}


def _hydra(
    recipe: Recipe, choices: list[str]
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Values and group choices after Hydra's composition; interpolations are still unresolved.

    The recipe is handed over as a generated primary file: it gets our search path and complete
    defaults, so that neither has to stand in the user's text."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with (
        tempfile.TemporaryDirectory(prefix="aihw-") as folder,
        recipe_folder(recipe.path.parent) as place,
    ):
        primary = {
            "defaults": recipe.defaults,
            "hydra": {"searchpath": [place]},
            **recipe.values,
        }
        OmegaConf.save(OmegaConf.create(primary), Path(folder, f"{PRIMARY}.yaml"))
        try:
            with (
                _no_other_hydra(),
                initialize_config_dir(
                    config_dir=folder, job_name="aihw", **hydra_options()
                ),
            ):
                config = hydra_compose(PRIMARY, choices, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise UserError(_composition_error(recipe, choices, error)) from None
        chosen: Any = OmegaConf.to_container(config.hydra.runtime.choices)
        values: Any = OmegaConf.to_container(config, resolve=False)
    values.pop("hydra")
    return values, {k: v for k, v in chosen.items() if not k.startswith("hydra/")}


def _composition_error(recipe: Recipe, choices: list[str], error: Exception) -> str:
    """Hydra's reason in our words: it names its own files and options, which the user never saw."""
    if isinstance(error, UserError):
        return str(error)
    for choice in choices:
        place = choice.removeprefix("+").partition("=")[0]
        if "@" in place and f"'{place}'" in str(error):
            return (
                f"{choice!r}: there is no array {place.partition('@')[2]} to choose for"
            )
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    if isinstance(inner, UserError):
        return str(inner)
    key = getattr(inner, "full_key", None)
    if found := IN_MEMBER.match(str(inner)):
        group, _, name = found[1].rpartition("/")
        file = find_member(group, name) if name in members(group) else recipe.path
        return f"{file}: {found[2]}"
    return f"{recipe.path}: {f'{key}: ' if key else ''}{first_line(inner)}"


@contextlib.contextmanager
def _no_other_hydra() -> Iterator[None]:
    """A program that calls us may use Hydra itself; its one global state is put aside meanwhile."""
    from hydra.core.global_hydra import GlobalHydra

    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _check_choices(recipe: Recipe, choices: list[overrides.Change]) -> None:
    for change in choices:
        if change.value is None and change.group in OPTIONAL:
            continue
        if change.value is None:
            hint = nearest("", members(change.group), f"aihw ls {change.group}")
            raise UserError(
                f"{brief(change.text)}: {change.group} needs a name; {hint}"
            )
        package = change.key.partition("@")[2]
        if package and not PACKAGE.match(package):
            raise UserError(
                f"{brief(change.text)}: {brief(package)} is not a place in the configuration"
            )
        if change.value not in members(change.group):
            hint = nearest(
                change.value, members(change.group), f"aihw ls {change.group}"
            )
            raise UserError(
                f"{brief(change.text)}: no {change.group} {brief(change.value)}; {hint}"
            )
        check_member(recipe.path, change.group, change.value, package)


def _origins(
    recipe: Recipe, chosen: dict[str, str | None]
) -> dict[str, list[tuple[str, Any]]]:
    """For every key, the files that give it a value, in the order of composition."""
    origins: dict[str, list[tuple[str, Any]]] = {}
    for key, option in chosen.items():
        group, _, package = key.partition("@")
        if not option or option not in members(group):
            continue
        path = members(group)[option][0]
        member = read_member(path)
        values = {k: v for k, v in member.values.items() if k != "defaults"}
        prefix = "" if member.package == GLOBAL else f"{package or group}."
        for name, value in flatten(values, prefix):
            origins.setdefault(name, []).append((str(path), value))
    for name, value in flatten(recipe.values):
        origins.setdefault(name, []).append((str(recipe.path), value))
    return origins


def _shadows(recipe: Recipe, chosen: dict[str, str | None]) -> Iterator[str]:
    """A line for the recipe and every chosen member of the user's own that hides a packaged one."""
    for paths in recipes().values():
        if paths[0] == recipe.path and len(paths) > 1:
            yield f"recipe {recipe.name} is {paths[0]}, which shadows {paths[1]}"
    for key, option in chosen.items():
        group = key.partition("@")[0]
        paths = members(group).get(option or "", [])
        if len(paths) > 1:
            yield f"{group} {option} is {paths[0]}, which shadows {paths[1]}"


def apply_change(
    values: dict[str, Any],
    change: overrides.Change,
    origins: dict[str, list[tuple[str, Any]]],
) -> None:
    """Put one value into the tree; a mapping is merged into the section that it meets."""
    if change.key == "model.name":
        _forget_model(values, change.value, origins)
    *sections, leaf = change.key.split(".")
    section = values
    for name in sections:
        if not isinstance(section.get(name), dict):
            section[name] = {}
        section = section[name]
    old = section.get(leaf)
    section[leaf] = change.value
    if isinstance(change.value, dict) and isinstance(old, dict) and not change.whole:
        section[leaf] = overlay(old, change.value)
    if sections and leaf in KIND_KEYS and old not in (None, change.value):
        # What the section says about itself was said about the old one.
        for text in TEXTS:
            section.pop(text, None)
    for name, value in flatten({change.key: change.value}):
        origins.setdefault(name, []).append((COMMAND_LINE, value))


def _forget_model(
    values: dict[str, Any], name: Any, origins: dict[str, list[tuple[str, Any]]]
) -> None:
    """Another network than that of the member: what the member says of its own means nothing."""
    model = values.get("model")
    if isinstance(model, dict) and model.get("name") != name:
        values["model"] = {
            key: value
            for key, value in model.items()
            if (origins.get(f"model.{key}") or [("", None)])[-1][0] == COMMAND_LINE
        }


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values, sections themselves included."""
    for key, value in values.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
