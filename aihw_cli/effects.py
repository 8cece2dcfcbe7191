"""Settings of the command line that would change nothing: refused where they are given, and where
they are swept."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aihw_cli import overrides
from aihw_cli.compose import flatten, split_conf
from engine.experiment.identity import LEFT_OUT, deciding, identity_parts
from engine.experiment.identity.effects import reason, without_effect
from engine.experiment.tasks import TRAIN, task_of
from engine.settings import UserError

# Asking for nothing is no mistake, whether or not there is something to switch off.
NOTHING: tuple[Any, ...] = (None, 0, False, "", "None", [], {})
EVALUATED_ONLY = "it decides nothing in a training: train once, then `aihw eval RUN` with each of its values"


def refuse_without_effect(
    words: Sequence[str], configs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Refuse single values that change nothing in any of the runs that a command describes. Returns
    remarks on members of groups that change nothing. Raises UserError."""
    inert = [without_effect(config) for config in configs]
    notes = []
    for change in overrides.read(split_conf(words)[1]):
        if change.choice or change.whole:
            why = _common_reason(change.key.replace("@", "."), inert)
            notes += [f"{change.text} has no effect: {why}"] if why else []
            continue
        for key, value in flatten({change.key: change.value}):
            why = (
                ""
                if isinstance(value, Mapping) or value in NOTHING
                else _common_reason(key, inert)
            )
            if why:
                raise UserError(f"{key}={value} has no effect: {why}")
    return notes


def _common_reason(key: str, inert: Sequence[Mapping[str, str]]) -> str:
    """Why a key changes nothing; empty if it may change something in one of the runs."""
    whys = [reason(key, found) for found in inert]
    return whys[0] if whys and all(whys) else ""


def effective(config: Mapping[str, Any]) -> str:
    """What is left of a configuration that may change a result, seed and place included: equal for
    points of a sweep that are the same run."""
    # Keys without effect may differ between points that are nevertheless one run.
    inert = without_effect(config)
    chosen = [
        [key, value]
        for key, value in flatten(deciding(config))
        if not isinstance(value, Mapping) and not reason(key, inert)
    ]
    parts = {
        key: value
        for key, value in identity_parts(config).items()
        if key != "configuration"
    }
    return json.dumps(
        [chosen, parts, config["run"]["seed"], config["name"]], default=str
    )


def refuse_equal_points(
    points: Sequence[Mapping[str, str]], configs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Refuse a swept key whose values all give the same runs. Returns a remark on those that give
    some runs more than once. Raises UserError."""
    effects = [effective(config) for config in configs]
    # Each key by itself: beside another one that matters, it may matter in some of the points.
    for key in points[0] if len(points) > 1 else ():
        groups = list(grouped(points, effects, key))
        if groups and all(len(set(group)) == 1 for group in groups):
            values = ", ".join(dict.fromkeys(point[key] for point in points))
            raise UserError(
                f"a sweep over {key}={values} would do the same run each time: {_why(key, configs)}"
            )
    # What is left repeats only some runs, such as the digital ones of a sweep over devices.
    repeated = len(effects) - len(set(effects))
    if not repeated:
        return []
    keys = [
        key
        for key in points[0]
        if any(len(set(group)) < len(group) for group in grouped(points, effects, key))
    ]
    return [
        f"{repeated} of {len(points)} points repeat another one, "
        f"in which {', '.join(keys)} has no effect; each run is done once"
    ]


def grouped(
    points: Sequence[Mapping[str, str]], values: Sequence[Hashable], key: str
) -> Iterator[list[Hashable]]:
    """The values of points that differ in `key` alone."""
    found: dict[str, list[Hashable]] = {}
    for point, value in zip(points, values, strict=True):
        others = json.dumps([text for name, text in point.items() if name != key])
        found.setdefault(others, []).append(value)
    yield from (group for group in found.values() if len(group) > 1)


def _why(key: str, configs: Sequence[Mapping[str, Any]]) -> str:
    name = key.replace("@", ".")
    section, _, leaf = name.partition(".")
    if why := _common_reason(name, [without_effect(config) for config in configs]):
        return why
    if section == "inference" and all(task_of(config) == TRAIN for config in configs):
        return EVALUATED_ONLY
    if leaf in LEFT_OUT.get(section, ()):
        return "it does not decide a result"
    return "its values mean the same here"


def equal_results(
    points: Sequence[Mapping[str, str]], results: Iterable[Mapping[str, Any] | None]
) -> list[str]:
    """Keys of a sweep that made no difference: all runs that differ in one of them alone ended with
    the same figures to the last digit."""
    # A run without a result says nothing; whole sweeps that failed are not remarked on.
    figures = [None if result is None else _figures(result) for result in results]
    found = []
    for key in points[0] if len(points) > 1 else ():
        groups = list(grouped(points, figures, key))
        whole = groups and all(None not in group for group in groups)
        if whole and all(len(set(group)) == 1 for group in groups):
            found.append(key)
    return found


# Figures of a summary that differ from run to run by themselves.
TIMES = ("seconds", "samples_per_second", "seed", "name")


def _figures(summary: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in summary.items() if k not in TIMES}, default=str)
