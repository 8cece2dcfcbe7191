"""The configuration of a run as a recipe that runs elsewhere: the nearest members of the groups,
and what differs from them. It is composed again, and must give the same run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aihw_cli.compose import compose, flatten
from engine.exchange.nearest import add_inference, nested, sections
from engine.experiment.identity import deciding, names_file
from engine.experiment.tasks import TRAIN, find_task, task_of, task_settings
from engine.presets import members, overlay, read_yaml
from engine.settings import UserError
from engine.trust.code import code_permitted

PARTS = ("device", "tile", "algorithm")
# Groups whose members have a name inside: the member of that name is the nearest.
NAMED = ("model", "dataset", "optimizer")
TEXTS = (
    "about",
    "source",
    "claim",
    "expected",
    "tolerance",
    "name",
    "seeds",
    "search",
    "preset",
)
# What belongs to a machine, not to a recipe.
LOCAL = ("run.dir", "run.device", "run.threads", "run.executor", "run.cluster", "run.log",
         "run.graph", "run.start", "model.weights", "dataset.root", "dataset.path", "dataset.download",
         "task.weights")  # fmt: skip


def portable(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The recipe, and a line for everything that must come along with it. Raises UserError if no
    recipe gives the same run."""
    draft, config = _draft(config), _completed(config)
    # Members bring settings of their own: the second look finds what the first one changed.
    for _ in range(2):
        composed = _composed(overlay(draft, _weights(config)))
        missing = dict(_missing(config, composed))
        if not missing:
            break
        draft = overlay(draft, nested(missing))
    if _compared(composed) != _compared(config):
        key = next(iter(missing), "a setting")
        raise UserError(f"no recipe gives the same run: {key} cannot be said in one")
    return _by_name(draft), list(_needed(config))


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run with every setting of its task: an evaluation records those that were given."""
    name = task_of(config)
    if name == TRAIN:
        return dict(config)
    settings = task_settings(config, find_task(name).Settings)
    return {**config, "task": {"name": name, **asdict(settings)}}


def _draft(config: Mapping[str, Any]) -> dict[str, Any]:
    """The members of all groups, and the settings of devices, tile and algorithm."""
    about = str(config["device"].get("about") or "cells of the recorded run")
    found = sections({part: config[part] for part in PARTS}, " ".join(about.split()))
    # A training says nothing of programming; where weights lie differs from machine to machine.
    if task_of(config) != TRAIN:
        found["task"] = {k: v for k, v in config["task"].items() if k != "weights"}
        add_inference(found, config["inference"])
    head: dict[str, Any] = {"name": config["name"]}
    for key in ("claim", "source"):
        if config.get(key):
            head[key] = config[key]
    defaults = found.pop("defaults")
    for group in NAMED:
        member = _member(group, config[group]["name"])
        if member:
            defaults.append({group: member})
    layers = {"layers": config["layers"]} if config.get("layers") else {}
    return {**head, "defaults": defaults, **found, **layers}


def _weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation is of: without it, a recipe is not complete."""
    weights = (config.get("task") or {}).get("weights")
    return {"task": {"weights": weights}} if weights else {}


def _by_name(values: Any, section: str = "") -> Any:
    """Settings whose files are named as if they lay in the current folder."""
    if not isinstance(values, Mapping):
        return values
    return {
        key: Path(value).name
        if names_file(key, value, section)
        else _by_name(value, key)
        for key, value in values.items()
    }


def _member(group: str, name: str) -> str:
    """The member of a group that has a name inside, its own name first; nothing if none has."""
    found = [
        m for m in members(group) if read_yaml(members(group)[m][0]).get("name") == name
    ]
    return name if name in found else next(iter(found), "")


def _composed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    import yaml

    # From a file, as it will be read: a text may mean something else than the values it was made of.
    with tempfile.TemporaryDirectory(prefix="aihw-") as folder:
        path = Path(folder, "recipe.yaml")
        path.write_text(yaml.safe_dump(dict(recipe), sort_keys=False), encoding="utf-8")
        return compose([], conf=str(path), allow_code=code_permitted()).values


def _missing(
    config: Mapping[str, Any], composed: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Settings of the run that the composed recipe has otherwise."""
    have = dict(_leaves(composed))
    # A training programs nothing.
    idle = ("inference",) if task_of(config) == TRAIN else ()
    for key, value in _leaves(dict(config)):
        first = key.partition(".")[0]
        if first in (*TEXTS, *PARTS, *idle, "layers") or key in LOCAL or _is_text(key):
            continue
        if key not in have or have[key] != value:
            yield key, value


def _leaves(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return (
        (key, value) for key, value in flatten(values) if not isinstance(value, dict)
    )


def _is_text(key: str) -> bool:
    return key.endswith((".about", ".source"))


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the result, without what belongs to a machine."""
    found = deciding(config)
    # The hash of a run knows its first weights and its data by content, not by place.
    for key in LOCAL:
        section, _, name = key.partition(".")
        if section in found:
            found[section] = {k: v for k, v in found[section].items() if k != name}
    return found


def _files(values: Mapping[str, Any], section: str = "") -> Iterator[str]:
    """Files of devices, noise models, networks and datasets that settings name."""
    for key, value in values.items():
        if names_file(key, value, section):
            yield value
        elif isinstance(value, Mapping):
            yield from _files(value, key)


def _needed(config: Mapping[str, Any]) -> Iterator[str]:
    """Files that a recipe only names."""
    for model in dict.fromkeys(_files(config)):
        path = model.partition(":")[0]
        yield f"{path}: send the file along; aihw looks for it in the folder where it is run"
    paths = (
        ("run", "start"),
        ("model", "weights"),
        ("dataset", "path"),
        ("task", "weights"),
    )
    for section, key in paths:
        value = (config.get(section) or {}).get(key)
        if value:
            yield f"{section}.{key}: give it on the command line; here it was {value}"
