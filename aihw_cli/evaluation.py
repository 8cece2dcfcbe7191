"""The configuration of `aihw eval`: what was trained, and over it what the user wants of the
hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aihw_cli import overrides
from aihw_cli.check import Checker, check_stored
from aihw_cli.compose import COMMAND_LINE, Composed, apply_change, compose, flatten
from aihw_cli.composition.interpolation import check_interpolations
from aihw_cli.recipe import check_member
from engine.experiment.runs import offline, read_config, read_record
from engine.experiment.tasks import TRAIN
from engine.experiment.tasks.evaluate import trained_for_tiles
from engine.presets import load_member, members, nearest
from engine.settings import UserError

TASK = "evaluate"
# What a network that was not trained for tiles is mapped to, unless the user says otherwise.
HARDWARE = {
    "device": "ideal",
    "algorithm": "sgd",
    "tile": "inference",
    "inference": "pcm",
}
# Tiles with input ranges of their own: the algorithm that has them, though nothing is trained here.
RANGED = "hwa"
CHANGEABLE = ("inference", "tile", "layers", "dataset", "run", "task")
FIXED = ("task", "task.name", "task.weights", "run.start")
CHOICES = ("inference", "tile")
FIXED_DATA = ("name", "batch_size", "train_samples", "shuffle")


def of_file(path: Path, texts: Sequence[str], *, allow_code: bool = False) -> Composed:
    """To evaluate a file of tensors with the model and dataset that `texts` name."""
    if not any(text.startswith(("model=", "conf=")) for text in texts):
        names = ", ".join(sorted(members("model")))
        raise UserError(
            f"{path} holds tensors only: add model=NAME dataset=NAME (models: {names})"
        )
    given = {text.partition("=")[0] for text in texts}
    found = _from_aihwkit(path, texts, allow_code=allow_code)
    if found is not None:
        return _named(found, path)
    start = [
        f"{group}={name}" for group, name in HARDWARE.items() if group not in given
    ]
    found = compose([*start, *texts], allow_code=allow_code)
    if "algorithm" not in given and _has_ranges(found.values):
        start = [
            f"algorithm={RANGED}" if text.startswith("algorithm=") else text
            for text in start
        ]
        found = compose([*start, *texts], allow_code=allow_code)
    return _named(found, path)


def _named(found: Composed, path: Path) -> Composed:
    """The configuration as that of a task on the weights at `path`."""
    name = re.sub(r"[^\w.+-]+", "-", f"eval-{path.stem}").strip("-.")
    found.values |= {
        "name": name,
        "task": {"name": TASK, "weights": str(path.absolute())},
    }
    return found


def _from_aihwkit(
    path: Path, texts: Sequence[str], *, allow_code: bool
) -> Composed | None:
    """For a model of aihwkit with its tiles and a recipe that trains for tiles: those tiles; None
    for anything else."""
    from engine.exchange.aihwkit.file import is_source

    if not is_source(path):
        return None
    found = compose(texts, allow_code=allow_code)
    return found if trained_for_tiles(found.values) else None


def of_run(folder: Path, texts: Sequence[str], *, allow_code: bool = False) -> Composed:
    """To evaluate the trained network of a run folder."""
    if read_record(folder).get("task", TRAIN) != TRAIN:
        raise UserError(
            f"{folder} is a run of the task {read_record(folder)['task']}: there is no network in it"
        )
    values = offline(read_config(folder))
    check_stored(folder, values, allow_code=allow_code)
    values = _on_hardware(values)
    values["task"] = {"name": TASK, "weights": str(folder.absolute())}
    found = Composed(
        values,
        {name: [(str(folder / "config.yaml"), v)] for name, v in flatten(values)},
    )
    for change in overrides.read(texts):
        _check_change(change)
        if change.choice:
            check_member(Path(COMMAND_LINE), change.group, change.value, "")
            values[change.group] = load_member(change.group, change.value)
            path = str(members(change.group)[change.value][0])
            for name, value in flatten({change.group: values[change.group]}):
                found.origins[name] = [(path, value)]
        else:
            check_interpolations(COMMAND_LINE, change.value, change.key)
            apply_change(values, change, found.origins)
    if not trained_for_tiles(values) and _has_ranges(values):
        values["algorithm"] = load_member("algorithm", RANGED)
    found.values = Checker(found.origins, allow_code).complete(values)
    return found


def _has_ranges(values: Mapping[str, Any]) -> bool:
    """Whether tiles get ranges of their inputs, which are then found from training data."""
    tile = values.get("tile")
    ranges = tile.get("input_range") if isinstance(tile, Mapping) else None
    return isinstance(ranges, Mapping) and ranges.get("enable") is True


def _on_hardware(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run with the hardware that its network is evaluated on, whatever it
    started from."""
    values = {
        **config,
        "seeds": 1,
        "run": {k: v for k, v in config["run"].items() if k != "start"},
    }
    if isinstance(config.get("model"), dict) and config["model"].get("weights"):
        values["model"] = {**config["model"], "weights": ""}
    if trained_for_tiles(config):
        return values
    common = (config.get("algorithm") or {}).get("name") == "digital"
    digital = (
        []
        if common
        else [
            name
            for name, own in (config.get("layers") or {}).items()
            if _is_digital(own)
        ]
    )
    values |= {
        part: load_member(part, name)
        for part, name in HARDWARE.items()
        if part != "inference"
    }
    return values | {
        "layers": {name: {"algorithm": {"name": "digital"}} for name in digital}
    }


def _is_digital(own: Mapping[str, Any]) -> bool:
    algorithm = own.get("algorithm") or {}
    return algorithm == "digital" or (
        isinstance(algorithm, Mapping) and algorithm.get("name") == "digital"
    )


def _check_change(change: overrides.Change) -> None:
    """Refuse to change what was trained."""
    parts = change.key.partition("@")[0].split(".")
    if parts[0] not in CHANGEABLE or (
        parts[0] == "dataset" and len(parts) > 1 and parts[1] in FIXED_DATA
    ):
        dataset = f"dataset (not its {', '.join(FIXED_DATA)})"
        free = ", ".join(dataset if part == "dataset" else part for part in CHANGEABLE)
        raise UserError(
            f"{change.text!r}: the network was trained with it; eval changes {free}"
        )
    if change.key in FIXED:
        raise UserError(
            f"{change.text!r}: the network to evaluate is given as the first word"
        )
    if change.choice and change.group not in CHOICES:
        raise UserError(
            f"{change.text!r}: eval takes no other {change.group}; change single values of it"
        )
    if change.choice and change.value not in members(change.group):
        hint = nearest(str(change.value), members(change.group))
        raise UserError(f"{change.text!r}: no {change.group} {change.value!r}; {hint}")
