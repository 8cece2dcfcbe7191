"""docs/reproduced.md: every figure with its results, made from the run folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aihw_cli.papers.text import best_of, cost, point_row
from engine.experiment.reproduce.judge import NOT_RUN, ORDERING, REPRODUCED, Judgement
from engine.experiment.reproduce.spec import GRADES, Figure

Found = Sequence[tuple[Figure, Sequence[Judgement]]]

HEAD = """# Published figures, repeated

This page is made from recorded runs by `aihw reproduce --list --markdown --runs FOLDER`; do not edit it.
A figure runs with `aihw reproduce PAPER/FIGURE dataset.root=FOLDER` (`--scaled`: its smaller version).

Three kinds, never mixed:

- **reproduced**: run in full; every value was read in the paper's full text and is met within the tolerance, and every
  ordering holds;
- **ordering**: only the ordering of the results counts. So it is for every smaller version, for every value that was
  not read in the full text, and for a figure whose values were missed: then it says by how much;
- **not run here**: the recipe is complete, and says what it needs.

How an expected value is known: """


def page(found: Found) -> str:
    """The whole page."""
    grades = ", ".join(f"{grade} {words}" for grade, words in GRADES.items())
    parts = [HEAD + grades + ".", "", *_overview(found), ""]
    for figure, both in found:
        parts += [*_section(figure, both), ""]
    return "\n".join(parts).rstrip() + "\n"


def _overview(found: Found) -> Iterator[str]:
    kinds = [best_of(both) for _, both in found]
    counts = ", ".join(
        f"{len([j for j in kinds if j.kind == kind])} {kind}"
        for kind in (REPRODUCED, ORDERING, NOT_RUN)
    )
    yield f"{len(found)} figures: {counts}."
    yield ""
    yield "| figure | result | | expected | cost of one core |"
    yield "|---|---|---|---|---|"
    for (figure, _), best in zip(found, kinds, strict=True):
        small = ", smaller version" if best.scaled and best.kind == ORDERING else ""
        price = cost(figure, scaled=best.scaled)
        yield _line(
            [
                figure.name,
                f"**{best.kind}**{small}",
                best.told,
                f"{figure.known} [{figure.grade}]",
                price,
            ]
        )


def _section(figure: Figure, both: Sequence[Judgement]) -> Iterator[str]:
    yield f"## {figure.name}"
    yield ""
    yield f"{figure.claim} ({figure.place}; {figure.source})"
    for name, text in (("Evidence", f"{figure.evidence.rstrip('.')} [{figure.grade}]"), ("Assumed", figure.assumed),
                       ("Left out", figure.left_out), ("Needs", figure.needs), ("Remark", figure.remark)):  # fmt: skip
        if text:
            yield f"{name}: {text.rstrip('.')}."
    for judgement in both:
        if judgement.present:
            yield ""
            yield from _result(judgement)


def _result(judgement: Judgement) -> Iterator[str]:
    figure = judgement.figure
    changes = (
        f" ({' '.join(figure.scaled.changes)})"
        if judgement.scaled and figure.scaled
        else ""
    )
    title = (
        f"Smaller version{changes}, not comparable to the published values"
        if judgement.scaled
        else "In full"
    )
    yield f"{title}: **{judgement.kind}**, {judgement.told}. {spent(judgement)}"
    yield ""
    rows = [point_row(point, figure) for point in judgement.points if point.values]
    if judgement.scaled:
        rows = [
            {k: v for k, v in row.items() if k in ("point", figure.axis, "seeds")}
            for row in rows
        ]
    yield _line([*rows[0]])
    yield "|" + "---|" * len(rows[0])
    for row in rows:
        yield _line([*row.values()])
    yield ""
    for order in judgement.orders:
        state = {True: "holds", False: "**violated**", None: "not known yet"}[
            order.holds
        ]
        yield f"- `{order.text}` {state}"
    yield from (f"- {note}" for note in judgement.notes)


def spent(judgement: Judgement) -> str:
    """Runs, epochs and hours that the recorded results took, and the commits that made them."""
    runs = [
        *{run.folder: run for point in judgement.points for run in point.runs}.values()
    ]
    hours = sum(float(run.summary.get("seconds") or 0) for run in runs) / 3600
    epochs = {int(run.summary["epochs"]) for run in runs if "epochs" in run.summary}
    per = f" of {'/'.join(map(str, sorted(epochs)))} epochs" if epochs else ""
    commits = sorted({str(run.record.get("commit") or "")[:8] for run in runs} - {""})
    many = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return (
        f"{many}{per}, {hours:.2f} h"
        + (f", commit {', '.join(commits)}" if commits else "")
        + "."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
