"""Results of several runs: mean, standard deviation and confidence interval over the seeds, best
first."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from engine.records.group import less_is_better
from engine.records.statistics import spread
from engine.trust.text import visible

METRIC, VALID = "test_accuracy", "valid_accuracy"


def statistics_of(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, sample standard deviation and half of the 95 % confidence interval; nan where they do
    not exist."""
    found = spread(values)
    return found.mean, found.std, found.ci95


def metric_of(summaries: Sequence[Mapping[str, Any]]) -> str:
    """The figure that runs are judged by: what their task names; of trainings the accuracy on the
    validation data if all of them have some, else on the test data."""
    if figure := next((s["figure"] for s in summaries if "figure" in s), ""):
        return str(figure)
    return VALID if summaries and all(VALID in s for s in summaries) else METRIC


def chosen_on(metric: str) -> str:
    """Which data a ranking by a metric looks at, for the reader of a table."""
    part = next(
        (part for part in ("valid", "test", "train") if f"{part}_" in metric), ""
    )
    words = {"valid": "validation data", "test": "test data", "train": "training data"}
    return f"best first by {metric}" + (f", on {words[part]}" if part else "")


def point_row(
    keys: Mapping[str, str],
    summaries: Sequence[Mapping[str, Any]],
    wanted: int,
    metric: str = METRIC,
) -> dict[str, Any]:
    """The row of one point from the summaries of its finished runs. A diverged run counts with what
    it reached."""
    values = [
        float(s[metric]) for s in summaries if isinstance(s.get(metric), int | float)
    ]
    times = [
        float(s["seconds"])
        for s in summaries
        if isinstance(s.get("seconds"), int | float)
    ]
    mean, spread, half = statistics_of(values)
    best = min if less_is_better(metric) else max
    return {
        **keys,
        "runs": f"{len(summaries)}/{wanted}",
        "diverged": len([s for s in summaries if s.get("status") == "diverged"]),
        metric: mean,
        "std": spread,
        "ci95": half,
        "best": best(values, default=math.nan),
        "seconds": statistics.fmean(times) if times else math.nan,
    }


def best_first(
    rows: Sequence[dict[str, Any]], metric: str = METRIC, *, smaller: bool = False
) -> list[dict[str, Any]]:
    """Rows from the best mean to the worst; points without a result last."""
    sign = 1 if smaller or less_is_better(metric) else -1
    return sorted(
        rows,
        key=lambda row: math.inf if math.isnan(row[metric]) else sign * row[metric],
    )


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a number that does not exist is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(without_gaps(row) for row in rows)
    return text.getvalue()


def without_gaps(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with None for a number that does not exist, as JSON and CSV want it."""
    return {k: None if _missing(v) else v for k, v in row.items()}


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned columns."""
    heads = [visible(name) for name in rows[0]]
    cells = [heads, *([visible(_cell(k, v)) for k, v in row.items()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(key: str, value: Any) -> str:
    if _missing(value):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if key == "seconds" else f"{value:.4f}"


def _missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
