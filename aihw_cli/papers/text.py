"""A judged figure in words: for the terminal, for a list, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from aihw_cli.table import as_text
from engine.experiment.reproduce.judge import ORDERING, Judgement, PointResult
from engine.experiment.reproduce.spec import FULL_TEXT, MEMORY, Figure

SHOWN_SEEDS = 12


def lines(judgement: Judgement) -> Iterator[str]:
    """Everything that is known of a figure and its runs."""
    figure = judgement.figure
    yield f"{figure.name}{' (smaller version)' if judgement.scaled else ''}: {figure.claim}"
    yield f"  {figure.place}; {figure.source}"
    if judgement.scaled and figure.scaled:
        changes = " ".join(figure.scaled.changes)
        yield f"  SMALLER than the paper's ({changes}): judged by ordering only, not comparable to the published values"
    elif figure.expected:
        yield f"  expected values: {figure.known} [{figure.grade}] ({figure.evidence})"
    for name, text in (
        ("assumed", figure.assumed),
        ("left out", figure.left_out),
        ("needs", figure.needs),
        ("remark", figure.remark),
    ):
        if text:
            yield f"  {name}: {text}"
    yield ""
    yield as_text([point_row(p, figure) for p in judgement.points])
    yield ""
    for order in judgement.orders:
        state = {True: "holds", False: "VIOLATED", None: "not known yet"}[order.holds]
        yield f"  {order.text}: {state}"
    yield from (f"  note: {text}" for text in judgement.notes)
    yield f"{judgement.kind}: {judgement.told}"


def point_row(result: PointResult, figure: Figure) -> dict[str, str]:
    """The row of a point: what we got beside what the paper says, under a heading that says how
    well that is known."""
    row = {
        "point": result.point.name,
        figure.axis: with_spread(result),
        "seeds": f"{len(result.values)}/{result.wanted}",
    }
    if not figure.expected:
        return row
    row[figure.known] = number(result.expected)
    row["difference"] = difference(result)
    row["tolerance"] = "-" if result.expected is None else f"± {result.tolerance:g}"
    row[""] = _verdict(result, figure)
    return row


def _verdict(result: PointResult, figure: Figure) -> str:
    if result.inside is None:
        return ""
    if figure.grade != FULL_TEXT:
        return "to be checked" if figure.grade == MEMORY else "not judged"
    return "in tolerance" if result.inside else "OFF"


def difference(result: PointResult) -> str:
    """Result minus expected value, with its sign."""
    if math.isnan(result.off):
        return "-"
    return f"{result.off:+.2f}" if abs(result.mean) >= 1 else f"{result.off:+.2g}"


def with_spread(result: PointResult) -> str:
    """Mean and standard deviation over the seeds, with as many decimals as the mean has."""
    if math.isnan(result.std):
        return number(result.mean)
    return f"{number(result.mean)} ± " + (
        f"{result.std:.2f}" if abs(result.mean) >= 1 else f"{result.std:.2g}"
    )


def number(value: float | None) -> str:
    """Two decimals, four digits for small numbers, `-` for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def list_rows(
    judgements: Iterable[tuple[Figure, Sequence[Judgement]]],
) -> list[dict[str, str]]:
    """A row for each figure with its last result, in full and smaller."""
    rows = []
    for figure, found in judgements:
        best = best_of(found)
        small = " (smaller version)" if best.scaled else ""
        rows.append(
            {
                "figure": figure.name,
                "expected": f"{figure.known} [{figure.grade}]",
                "cost": cost(figure),
                "smaller": cost(figure, scaled=True),
                "result": best.kind + (small if best.kind == ORDERING else ""),
                "told": best.told,
            }
        )
    return rows


def best_of(found: Sequence[Judgement]) -> Judgement:
    """The full version where anything of it was run, else the smaller one where that was run."""
    full = next(j for j in found if not j.scaled)
    small = next((j for j in found if j.scaled), full)
    complete = full.present >= full.wanted or full.present > small.present
    return full if complete or not small.present else small


def cost(figure: Figure, *, scaled: bool = False) -> str:
    """Trainings and hours of one core."""
    if scaled and figure.scaled is None:
        return "-"
    runs = {
        point.training: figure.minutes_of(point.name, scaled=scaled)
        for point in figure.points
    }
    total = sum(runs.values()) * figure.seeds
    least, most = min(runs.values()), max(runs.values())
    each = f"{most:g}" if least == most else f"{least:g} to {most:g}"
    return f"{len(runs) * figure.seeds} x {each} min" + (
        f" = {total / 60:.1f} h" if total >= 60 else ""
    )
