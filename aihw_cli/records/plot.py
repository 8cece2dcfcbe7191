"""What `aihw runs plot` draws: learning curves, a metric over a swept key with error bars, a heat
map over two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aihw_cli.arguments import Arguments
from aihw_cli.records.listing import independent, metric_of
from aihw_cli.records.pick import Picked
from aihw_cli.report import note
from engine.readers.run_files import read_metrics
from engine.records.differ import differing, distinguishing
from engine.records.group import Group, group_by
from engine.records.run import LABELLED, Run
from engine.records.select import shown
from engine.records.statistics import Spread, spread
from engine.settings import UserError

ERRORS = ("ci95", "std", "range", "none")
MANY, SHOWN = 12, 4


@dataclass(frozen=True)
class Curve:
    """Mean and ends of the error bars at each x; `runs` is how many runs stand behind each."""

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    runs: Sequence[int]


@dataclass(frozen=True)
class Drawing:
    """Curves, or for a heat map the values at (y, x); with what stands at the axes."""

    metric: str
    x: str
    curves: Sequence[Curve] = ()
    y: str = ""
    heat: Mapping[tuple[Any, Any], float] = field(default_factory=dict)
    error: str = "ci95"

    @property
    def swept(self) -> bool:
        """Whether the horizontal axis is a key of the configuration: points with error bars, no
        course in time."""
        return "." in self.x or self.x in LABELLED

    def rows(self) -> list[dict[str, Any]]:
        """The numbers behind the figure."""
        if self.y:
            return [
                {self.y: y, self.x: x, self.metric: value}
                for (y, x), value in self.heat.items()
            ]
        return [
            {
                "curve": curve.name,
                self.x: x,
                self.metric: y,
                "low": low,
                "high": high,
                "runs": runs,
            }
            for curve in self.curves
            for x, y, low, high, runs in zip(
                curve.x, curve.y, curve.low, curve.high, curve.runs, strict=True
            )
        ]


def drawing(picked: Picked, arguments: Arguments) -> Drawing:
    """What the options ask for. Raises UserError where there is nothing to draw."""
    error = arguments.options.get("--error", ERRORS[0])
    if error not in ERRORS:
        raise UserError(f"--error {error}: there are {', '.join(ERRORS)}")
    if arguments.has("--y") and not arguments.has("--x"):
        raise UserError(
            "--y names the second key of a heat map; name the first one with --x"
        )
    groups = list(
        map(picked.key, filter(None, arguments.options.get("--group", "").split(",")))
    )
    if not arguments.has("--x"):
        return _learning(picked, arguments, error, groups)
    metric, x = metric_of(picked, arguments), picked.key(arguments.options["--x"])
    runs = [
        run
        for run in independent(picked)
        if run.value(x) is not None and not math.isnan(run.number(metric))
    ]
    if not runs:
        raise UserError(f"no run has both {x} and a result {metric}")
    if arguments.has("--y"):
        y = picked.key(arguments.options["--y"])
        cells = group_by(runs, [y, x])
        _remark(cells)
        heat = {
            (group.keys[y], group.keys[x]): group.spread(metric).mean for group in cells
        }
        return Drawing(metric, x, y=y, heat=heat)
    keys = groups or [key for key in distinguishing(runs) if key != x]
    curves = [_swept(group, x, metric, error) for group in group_by(runs, keys)]
    if groups:
        _remark(
            [
                cell
                for group in group_by(runs, keys)
                for cell in group_by(group.runs, [x])
            ]
        )
    return Drawing(metric, x, _few(curves, keys), error=error)


def in_order(values: Sequence[Any]) -> list[Any]:
    """Values of a key along an axis: numbers by size, texts in the order in which the runs were
    made."""
    different = list(dict.fromkeys(values))
    numbers = all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in different
    )
    return sorted(different) if numbers else different


def label(keys: Mapping[str, Any]) -> str:
    """The name of a curve: the last part of each key with its value."""
    return ", ".join(
        f"{key.removesuffix('.name').rpartition('.')[2]} {shown(value)}"
        for key, value in keys.items()
    )


def _learning(
    picked: Picked, arguments: Arguments, error: str, keys: Sequence[str]
) -> Drawing:
    """A metric over the epochs, a curve for each group."""
    metric = arguments.options.get("--metric", "")
    tables: dict[int, list[dict[str, Any]]] = {}
    chosen = independent(picked)
    for run in chosen:
        try:
            tables[id(run)] = read_metrics(run.folder)
        except UserError as problem:
            note(str(problem))
    runs = [run for run in chosen if tables.get(id(run))]
    if not runs:
        raise UserError("none of the runs has metrics to draw")
    columns = dict.fromkeys(key for run in runs for key in tables[id(run)][0])
    metric = metric or _usual(columns)
    if metric not in columns:
        raise UserError(
            f"the runs have no column {metric}; there are {', '.join(columns)}"
        )
    count = next(next(iter(t[0])) for t in tables.values() if t and metric in t[0])
    runs = _with_columns(runs, tables, (count, metric))
    names = keys or distinguishing(runs)
    groups = group_by(runs, names)
    if keys:
        _remark(groups)
    curves = [_course(group, tables, (count, metric), error) for group in groups]
    return Drawing(metric, count, _few(curves, names), error=error)


def _with_columns(
    runs: Sequence[Run],
    tables: Mapping[int, list[dict[str, Any]]],
    names: tuple[str, str],
) -> list[Run]:
    """The runs that count and measure the same; what other tasks count is no place on the axis."""
    kept = [run for run in runs if all(name in tables[id(run)][0] for name in names)]
    if len(kept) < len(runs):
        note(
            f"{len(runs) - len(kept)} runs are left out: they have no {' and '.join(names)}"
        )
    return kept


def _usual(columns: Mapping[str, None]) -> str:
    return "test_accuracy" if "test_accuracy" in columns else list(columns)[-1]


def _course(
    group: Group,
    tables: Mapping[int, list[dict[str, Any]]],
    names: tuple[str, str],
    error: str,
) -> Curve:
    count, metric = names
    found: dict[float, list[float]] = {}
    for run in group.runs:
        for row in tables[id(run)]:
            x, y = row.get(count), row.get(metric)
            # Another program, or an editor, may have written columns of its own.
            if (
                isinstance(x, int | float)
                and math.isfinite(x)
                and isinstance(y, int | float)
            ):
                found.setdefault(x, []).append(float(y))
    return _curve(
        label(group.keys), {x: spread(found[x]) for x in sorted(found)}, error
    )


def _swept(group: Group, x: str, metric: str, error: str) -> Curve:
    points = {
        point.keys[x]: point.spread(metric) for point in group_by(group.runs, [x])
    }
    return _curve(
        label(group.keys),
        {value: points[value] for value in in_order(list(points))},
        error,
    )


def _curve(name: str, points: Mapping[Any, Spread], error: str) -> Curve:
    low, high = (
        zip(*(_ends(found, error) for found in points.values()), strict=True)
        if points
        else ((), ())
    )
    return Curve(
        name,
        list(points),
        [p.mean for p in points.values()],
        low,
        high,
        [p.count for p in points.values()],
    )


def _ends(found: Spread, error: str) -> tuple[float, float]:
    if error == "range":
        return found.low, found.high
    half = {"ci95": found.ci95, "std": found.std, "none": math.nan}[error]
    return found.mean - half, found.mean + half


def _few(curves: list[Curve], keys: Sequence[str]) -> list[Curve]:
    """Refuse a figure that nobody could read, with what makes it smaller. Raises UserError."""
    if len(curves) > MANY:
        told = ", ".join(list(keys)[:SHOWN]) + (
            " and more" if len(keys) > SHOWN else ""
        )
        raise UserError(
            f"{len(curves)} curves cannot be told apart in one figure; they differ in {told}\n"
            f"conditions choose some ({keys[0]}=...), --group KEY joins them, --x KEY draws over a key"
        )
    return curves


def _remark(groups: Sequence[Group]) -> None:
    """A mean over runs that differ in more than their seed hides something."""
    keys: dict[str, None] = {}
    for group in groups:
        keys.update(dict.fromkeys(differing(group.runs)))
    if keys:
        note(f"means are taken over runs that differ in {', '.join(list(keys)[:4])}")
