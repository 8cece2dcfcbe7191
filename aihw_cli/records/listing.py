"""Runs and groups of runs as tables: text, CSV or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from aihw_cli import table
from aihw_cli.arguments import Arguments
from aihw_cli.output import say, say_json
from aihw_cli.records.pick import Picked
from aihw_cli.report import duration, note
from engine.experiment.tasks import TRAIN, find_task, task_names
from engine.records.differ import distinguishing
from engine.records.group import (
    Group,
    best_first,
    distinct,
    group_by,
    less_is_better,
    mixed,
    over_seeds,
)
from engine.records.run import Run
from engine.records.select import shown
from engine.settings import UserError

METRIC = "test_accuracy"
COLUMNS = 6
Row = dict[str, Any]


def write(rows: Sequence[Mapping[str, Any]], arguments: Arguments) -> None:
    """Print rows in the form that was asked for."""
    plain = [{key: _none(value) for key, value in row.items()} for row in rows]
    if arguments.has("--json"):
        say_json(plain)
    elif arguments.has("--csv"):
        say(
            table.as_csv(
                [
                    {
                        k: json.dumps(v) if isinstance(v, list) else v
                        for k, v in r.items()
                    }
                    for r in plain
                ]
            ),
            end="",
        )
    else:
        say(
            table.as_text(
                [{key: cell(key, value) for key, value in row.items()} for row in rows]
            )
        )


def cell(key: str, value: Any) -> str:
    """A value for the eye: results to four digits, times in words."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if key == "seconds" and isinstance(value, int | float):
        return duration(float(value))
    if key in ("started", "ended"):
        return str(value)[:16].replace("T", " ")
    if isinstance(value, float) and "." not in key and 1e-3 < abs(value) < 1e5:
        return f"{value:.4f}"
    return shown(value)


def runs(picked: Picked, arguments: Arguments) -> list[Row]:
    """A row for each run, or for each group of runs."""
    groups, metric = grouped(picked, arguments), metric_of(picked, arguments)
    if groups is not None:
        rows = [group_row(group, metric) for group in groups]
    else:
        keys = _columns(picked, arguments)
        rows = [
            {"run": str(run.folder), **{key: run.value(key) for key in keys}}
            for run in (*picked.runs, *picked.damaged)
        ]
    return _cut(_sorted(rows, picked, arguments), arguments)


def independent(picked: Picked) -> list[Run]:
    """The runs that count in statistics, and a remark on those that repeat another one."""
    found = distinct(picked.runs)
    repeated = len(picked.runs) - len(found)
    if repeated:
        note(
            f"{repeated} of {len(picked.runs)} runs repeat another one (same hash and seed: copies, links or "
            "--again); each counts once"
        )
    return found


def grouped(picked: Picked, arguments: Arguments) -> list[Group] | None:
    """The groups that --group or --seeds ask for; a remark where a group mixes more than seeds."""
    if arguments.has("--group"):
        groups = group_by(
            independent(picked), picked.list(arguments.options["--group"])
        )
        others = dict.fromkeys(key for group in groups for key in mixed(group))
        if others:
            note(
                f"groups hold runs that differ in {_some(list(others))}; add keys to --group, or conditions"
            )
        return groups
    return over_seeds(independent(picked)) if arguments.has("--seeds") else None


def metric_of(picked: Picked, arguments: Arguments) -> str:
    """The result that is looked at: --metric, else the accuracy, else what the runs have."""
    if arguments.has("--metric"):
        return picked.key(arguments.options["--metric"])
    if METRIC in picked.keys:
        return METRIC
    figures = [
        str(run.result.get("figure")) for run in picked.runs if run.result.get("figure")
    ]
    return figures[0] if figures else METRIC


def _lowest(picked: Picked, metric: str) -> bool:
    """Whether small values are the good ones: a task says so of its figure, other results by their
    name."""
    for task in {str(run.record.get("task") or TRAIN) for run in picked.runs} - {TRAIN}:
        if task in task_names() and metric == find_task(task).FIGURE:
            return bool(find_task(task).LOWER_IS_BETTER)
    return less_is_better(metric)


def group_row(group: Group, metric: str) -> Row:
    """Keys and statistics of a group."""
    found = group.spread(metric)
    best = found.low if less_is_better(metric) else found.high
    done = f"{found.count}/{len(group.runs)}"
    seconds = group.spread("seconds").mean
    return {**group.keys, "runs": done, metric: found.mean, "std": found.std, "ci95": found.ci95, "best": best,
            "seconds": seconds}  # fmt: skip


def best(picked: Picked, arguments: Arguments) -> list[Row]:
    """Configurations by the mean of a metric over their seeds, best first."""
    metric = metric_of(picked, arguments)
    if not arguments.has("--metric") and all(
        "valid_accuracy" in run.result for run in picked.runs
    ):
        metric = "valid_accuracy"
    note(table.chosen_on(metric))
    lowest = _lowest(picked, metric)
    groups = grouped(picked, arguments) or over_seeds(independent(picked))
    ranked = [
        g
        for g in best_first(groups, metric, lowest=lowest)
        if not math.isnan(g.spread(metric).mean)
    ]
    if not ranked:
        raise UserError(f"no run has a result {metric} yet")
    rows = [
        {**group_row(group, metric), "run": _best_run(group, metric, lowest=lowest)}
        for group in ranked
    ]
    return _cut(rows, arguments, 10)


def _best_run(group: Group, metric: str, *, lowest: bool) -> str:
    known = [run for run in group.runs if not math.isnan(run.number(metric))]
    return str(
        (min if lowest else max)(known, key=lambda run: run.number(metric)).folder
    )


def _columns(picked: Picked, arguments: Arguments) -> list[str]:
    if arguments.has("--columns"):
        return picked.list(arguments.options["--columns"])
    keys, names = (
        distinguishing(picked.runs),
        {run.record["name"] for run in picked.runs},
    )
    if len(keys) > COLUMNS:
        first = [
            key
            for key in keys
            if key in ("device", "algorithm") or key.endswith((".name", ".lr"))
        ][:COLUMNS]
        note(
            f"the runs also differ in {_some([key for key in keys if key not in first])} (--columns KEY,... shows them)"
        )
        keys = first
    seeds = ["seed"] if len({run.record["seed"] for run in picked.runs}) > 1 else []
    results = [
        key for key in (metric_of(picked, arguments), "epochs") if key in picked.keys
    ]
    return [
        *(["name"] if len(names) > 1 else []),
        "status",
        *keys,
        *seeds,
        *results,
        "seconds",
        "started",
    ]


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:4]) + (
        f" and {len(keys) - 4} more keys" if len(keys) > 4 else ""
    )


def _sorted(rows: list[Row], picked: Picked, arguments: Arguments) -> list[Row]:
    """By --sort KEY, or -KEY for falling values; what is missing comes last."""
    wanted = arguments.options.get("--sort")
    if wanted is None:
        return rows
    falling, name = wanted.startswith("-"), wanted.lstrip("-")
    key = name if name in rows[0] else picked.key(name)
    if key not in rows[0]:
        raise UserError(
            f"--sort {name}: the table has no such column; --columns {key},... shows it"
        )
    missing = [row for row in rows if _none(row[key]) is None]
    known = [row for row in rows if _none(row[key]) is not None]
    numbers = all(isinstance(row[key], int | float) for row in known)
    return (
        sorted(
            known,
            key=lambda row: row[key] if numbers else shown(row[key]),
            reverse=falling,
        )
        + missing
    )


def _cut(rows: list[Row], arguments: Arguments, usual: int = 0) -> list[Row]:
    text = arguments.options.get("--limit", str(usual))
    if not text.isdigit():
        raise UserError(f"--limit {text}: a number of rows is needed")
    limit = int(text) or len(rows)
    if len(rows) > limit:
        note(f"{limit} of {len(rows)} rows; --limit 0 shows all")
    return rows[:limit]


def _none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
