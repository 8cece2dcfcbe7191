"""Whether recorded runs agree with a figure. Three kinds, never mixed: reproduced, ordering, not
run here."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.experiment.reproduce.spec import FULL_TEXT, METRICS, Figure, Point, terms

REPRODUCED, ORDERING, NOT_RUN = "reproduced", "ordering", "not run here"
CHANCE = 0.12  # test accuracy of a network of ten classes that has learned nothing


@dataclass(frozen=True)
class Run:
    """A recorded run of a point."""

    seed: int
    folder: Path
    summary: Mapping[str, Any]
    record: Mapping[str, Any]
    older: bool = False


@dataclass(frozen=True)
class PointResult:
    """What came of one point, in units of the metric."""

    point: Point
    wanted: int
    expected: float | None
    tolerance: float
    values: tuple[float, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation over the seeds; nan for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def off(self) -> float:
        """Result minus expected value; nan if one of them is missing."""
        return math.nan if self.expected is None else self.mean - self.expected

    @property
    def inside(self) -> bool | None:
        """Whether the mean lies within the tolerance; None if that cannot be said."""
        return None if math.isnan(self.off) else abs(self.off) <= self.tolerance + 1e-9

    @property
    def complete(self) -> bool:
        return len(self.values) >= self.wanted

    @property
    def chance(self) -> bool:
        """Whether a run has learned nothing: such a number is a collapse, not a result."""
        return any(
            float(r.summary.get("test_accuracy") or 1) <= CHANCE for r in self.runs
        )


@dataclass(frozen=True)
class OrderResult:
    """An ordering, the numbers on its sides, and whether it holds; None while a number is
    missing."""

    text: str
    sides: tuple[float, ...]
    holds: bool | None


@dataclass(frozen=True)
class Judgement:
    """A figure as it was run: in full, or in its smaller version."""

    figure: Figure
    scaled: bool
    points: tuple[PointResult, ...]
    orders: tuple[OrderResult, ...]
    kind: str = NOT_RUN
    told: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def present(self) -> int:
        """Number of recorded runs."""
        return sum(len(p.values) for p in self.points)

    @property
    def wanted(self) -> int:
        return sum(p.wanted for p in self.points)


def judge(
    figure: Figure, runs: Mapping[str, Sequence[Run]], *, scaled: bool
) -> Judgement:
    """Judge the runs of each point of a figure."""
    points = tuple(
        _point(figure, p, runs.get(p.name, ()), scaled) for p in figure.points
    )
    orders = tuple(_order(text, points) for text in figure.orders(scaled))
    found = Judgement(figure, scaled, points, orders)
    kind, told = _verdict(found)
    return Judgement(figure, scaled, points, orders, kind, told, tuple(_notes(found)))


def value_of(metric: str, summary: Mapping[str, Any]) -> float:
    """The metric of a summary: accuracies and errors in per cent, other entries as they are; nan if
    it has none."""
    key, _ = METRICS.get(metric, (metric, ""))
    value = summary.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    if metric not in METRICS:
        return float(value)
    return 100.0 * (1.0 - value) if metric.endswith("error") else 100.0 * value


def _point(
    figure: Figure, point: Point, runs: Sequence[Run], scaled: bool
) -> PointResult:
    kept = [
        (run, value)
        for run in runs
        if not math.isnan(value := value_of(figure.metric, run.summary))
    ]
    expected = None if scaled else figure.expected.get(point.name)
    values = tuple(value for _, value in kept)
    return PointResult(
        point,
        figure.seeds,
        expected,
        figure.tolerance_of(point.name),
        values,
        tuple(run for run, _ in kept),
    )


def _order(text: str, points: Sequence[PointResult]) -> OrderResult:
    means = {p.point.name: p.mean for p in points}
    sign, parts = terms(text, tuple(means))
    sides = tuple(
        number + (means[name] if name is not None else 0.0) for name, number in parts
    )
    if any(math.isnan(side) for side in sides):
        return OrderResult(text, sides, None)
    return OrderResult(
        text,
        sides,
        all((a < b) if sign == "<" else (a > b) for a, b in itertools.pairwise(sides)),
    )


def _verdict(found: Judgement) -> tuple[str, str]:
    figure = found.figure
    if not found.present:
        return NOT_RUN, figure.needs or "no run of it is recorded"
    named = [
        p for p in found.points if p.expected is not None and figure.grade == FULL_TEXT
    ]
    complete = all(p.complete for p in found.points)
    parts = [_values_told(named)] if named else []
    parts += [_orders_told(found.orders)] if found.orders else []
    parts += [] if complete else [f"{found.present} of {found.wanted} runs"]
    told = "; ".join(p for p in parts if p)
    kept = all(o.holds for o in found.orders) and all(p.inside for p in named)
    if named and complete and kept and not found.scaled:
        return REPRODUCED, told
    return ORDERING, told


def _values_told(points: Sequence[PointResult]) -> str:
    judged = [p for p in points if p.inside is not None]
    inside = [p for p in judged if p.inside]
    off = ", ".join(
        f"{p.point.name} off by {p.off:+.2g}" for p in judged if not p.inside
    )
    return f"{len(inside)} of {len(points)} values in tolerance" + (
        f" ({off})" if off else ""
    )


def _orders_told(orders: Sequence[OrderResult]) -> str:
    broken = [o.text for o in orders if o.holds is False]
    holding = len([o for o in orders if o.holds])
    told = f"{holding} of {len(orders)} orderings hold"
    return told + (f" (violated: {'; '.join(broken)})" if broken else "")


def _notes(found: Judgement) -> list[str]:
    notes = []
    if found.scaled:
        notes.append(
            "smaller than the paper's: judged by ordering only, not comparable to the published values"
        )
    collapsed = [p.point.name for p in found.points if p.chance]
    if collapsed:
        notes.append(f"at chance, nothing was learned: {', '.join(collapsed)}")
    if any(run.older for p in found.points for run in p.runs):
        notes.append(
            "some runs were made with other physics texts than those of this version"
        )
    return notes
