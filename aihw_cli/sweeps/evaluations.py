"""Sweeps of `aihw eval`: one trained network on many kinds of hardware, with one table and one
plot of accuracy over the swept key and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihw_cli import evaluation, overrides
from aihw_cli.compose import Composed
from aihw_cli.effects import refuse_equal_points, refuse_without_effect
from aihw_cli.records import figure
from aihw_cli.records.plot import MANY, Curve, Drawing, in_order, label
from aihw_cli.sweeps.manifest import Sweep
from aihw_cli.sweeps.plan import (
    as_text,
    common_words,
    free_folder,
    keys_of,
    seeds_of,
    sweep_folder,
)
from engine.experiment.files import write_csv
from engine.settings import UserError

TABLE, PLOT = "accuracy.csv", "accuracy.png"
COLUMNS = ("after", "time", "compensation", "mean", "std", "repeats")
NO_COMPENSATION = "none"


def plan_evaluations(
    target: Path, words: Sequence[str], *, allow_code: bool, again: bool
) -> Sweep:
    """The sweep over evaluations of `target` (a run folder or a file of weights) that `words`
    describe. Every point is composed and checked. Raises UserError."""
    names = overrides.swept_keys(words)
    if not names:
        raise UserError("-m: no key has several values; write key=a,b")
    wanted = [name for name in names if name.startswith(("run.dir", "run.cluster"))]
    if wanted or "run.executor" in names:
        raise UserError(
            f"{(*wanted, 'run.executor')[0]} cannot be swept: it is one for the whole sweep"
        )
    points = overrides.expand(words)
    composed = [_compose(target, point, allow_code) for point in points]
    values = [one.values for one in composed]
    homes = [in_its_folder(target, config) for config in values]
    folder = sweep_folder(homes[-1], "sweep", values)
    if again:
        folder = free_folder(folder)
    keys = [
        keys_of(names, point, config)
        for point, config in zip(points, values, strict=True)
    ]
    notes = dict.fromkeys(note for one in composed for note in one.notes)
    remarks = refuse_without_effect(common_words(points), values)
    remarks += refuse_equal_points(keys, values)
    jobs = [
        job
        for number, config in enumerate(homes)
        for job in seeds_of(number, config, again=again)
    ]
    return Sweep(
        folder,
        keys,
        [as_text(config) for config in values],
        jobs,
        words=list(words),
        notes=[*notes, *remarks],
    )


def _compose(target: Path, words: Sequence[str], allow_code: bool) -> Composed:
    read = evaluation.of_run if target.is_dir() else evaluation.of_file
    try:
        return read(target, words, allow_code=allow_code)
    except UserError as error:
        raise UserError(f"{error}\nin the point {' '.join(words)}") from None


def in_its_folder(target: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose run folder lies below the run that is evaluated; for a file of weights,
    one whose folder is its own."""
    if not target.is_dir():
        return dict(config)
    run = {**config["run"], "dir": str(target)}
    return {**config, "name": "eval", "run": run}


@dataclass(frozen=True)
class Measured:
    """What a sweep of evaluations found at one point, time and way of compensation."""

    keys: Mapping[str, str]
    point: Mapping[str, Any]

    def row(self) -> dict[str, Any]:
        """The line of the table."""
        return {**self.keys, **{name: self.point[name] for name in COLUMNS}}


def measured(sweep: Sweep) -> list[Measured]:
    """The accuracies of all evaluations of a sweep that ended; empty for a sweep of anything
    else."""
    done = [(sweep.points[job.point], job.summary()) for job in sweep.jobs if job.done]
    return [
        Measured(keys, point)
        for keys, summary in done
        if summary.get("task") == evaluation.TASK
        for point in summary.get("points", ())
    ]


def save_course(sweep: Sweep) -> list[str]:
    """Write accuracy over swept values and times as a table and a plot into the folder of a sweep
    of evaluations. Returns a line about each for the reader."""
    found = measured(sweep)
    if not found:
        return []
    rows = [one.row() for one in found]
    write_csv(sweep.folder / TABLE, rows, list(rows[0]))
    lines = [f"over time {sweep.folder / TABLE}"]
    drawn = drawing(found)
    if len(drawn.curves) > MANY:
        how = f"`aihw runs plot {sweep.folder} --x {drawn.x}` draws some of them"
        return [*lines, f"no plot: {len(drawn.curves)} curves are too many; {how}"]
    figure.save(drawn, sweep.folder / PLOT, log=None, width=1.6 * figure.WIDTH)
    return [*lines, f"plot  {sweep.folder / PLOT}"]


def drawing(found: Sequence[Measured]) -> Drawing:
    """Accuracy over the key with the most values, a curve for each time and for each value of the
    other keys. Points are means over programmings, bars their standard deviation."""
    values = {
        key: in_order(list(dict.fromkeys(_value(one.keys[key]) for one in found)))
        for key in found[0].keys
    }
    x = max(values, key=lambda key: len(values[key]))
    curves: dict[str, dict[Any, Mapping[str, Any]]] = {}
    for one in found:
        if _is_second_way(one, found):
            continue
        others = {key: text for key, text in one.keys.items() if key != x}
        name = ", ".join(filter(None, [label(others), f"after {one.point['after']}"]))
        curves.setdefault(name, {})[_value(one.keys[x])] = one.point
    drawn = [_curve(name, values[x], points) for name, points in curves.items()]
    return Drawing("accuracy", x, drawn, error="std")


def _is_second_way(one: Measured, found: Sequence[Measured]) -> bool:
    """Whether a value without compensation stands beside one with it, which is the one to draw."""
    compensated = any(
        other.keys == one.keys and other.point["compensation"] != NO_COMPENSATION
        for other in found
    )
    return one.point["compensation"] == NO_COMPENSATION and compensated


def _curve(
    name: str, order: Sequence[Any], points: Mapping[Any, Mapping[str, Any]]
) -> Curve:
    x = [value for value in order if value in points]
    means = [float(points[value]["mean"]) for value in x]
    spreads = [float(points[value]["std"]) for value in x]
    low = [mean - std for mean, std in zip(means, spreads, strict=True)]
    high = [mean + std for mean, std in zip(means, spreads, strict=True)]
    return Curve(name, x, means, low, high, [int(points[v]["repeats"]) for v in x])


def _value(text: str) -> float | str:
    """A swept value as a number where it is one, so that an axis has its scale."""
    try:
        return float(text)
    except ValueError:
        return text
