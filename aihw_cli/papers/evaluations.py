"""The second step of a figure on inference: the trained network of a run, programmed and tested
over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aihw_cli.papers.figures import Planned
from engine.experiment.reproduce.judge import Run
from engine.experiment.reproduce.spec import EVALUATE, Figure
from engine.settings import UserError

SELECTING = ("after", "compensation")
FOLDER = "eval"


def configuration(
    figure: Figure, run: Planned, folder: Path, extra: Sequence[str] = ()
) -> dict[str, Any]:
    """The configuration of the evaluation that a point needs of its trained run."""
    from aihw_cli.evaluation import of_run

    own = [
        w.removeprefix(EVALUATE) for w in run.point.overrides if w.startswith(EVALUATE)
    ]
    words = [
        w for w in (*figure.evaluate, *own) if w.partition("=")[0] not in SELECTING
    ]
    local = [
        w
        for w in extra
        if w.startswith(("run.device=", "run.threads=", "dataset.root="))
    ]
    found = of_run(folder, [*words, *local])
    values = found.values
    return {**values, "name": FOLDER, "run": {**values["run"], "dir": str(folder)}}


def with_evaluation(figure: Figure, run: Planned, trained: Run) -> Run | None:
    """The run with the accuracy of its evaluation, or None if that is not recorded."""
    from aihw_cli.papers.collect import finished, identity
    from engine.experiment.runs import read_summary

    try:
        wanted = identity(configuration(figure, run, trained.folder))
        place = dict(finished(trained.folder / FOLDER)).get((wanted, run.seed))
        summary = read_summary(place) if place else None
    except UserError:
        return None
    value = accuracy(run, summary) if summary else None
    if summary is None or value is None:
        return None
    seconds = float(trained.summary.get("seconds") or 0) + float(
        summary.get("seconds") or 0
    )
    return replace(
        trained,
        summary={**trained.summary, "evaluated_accuracy": value, "seconds": seconds},
    )


def accuracy(run: Planned, summary: Mapping[str, Any]) -> float | None:
    """The mean accuracy at the time, and with the compensation, that a point names."""
    chosen = dict(
        w.removeprefix(EVALUATE).split("=", 1)
        for w in run.point.overrides
        if w.startswith(EVALUATE)
    )
    after, way = chosen.get("after", "").replace(" ", ""), chosen.get("compensation")
    if not after:
        return float(summary["reference_accuracy"])
    points = [p for p in summary["points"] if str(p["after"]).replace(" ", "") == after]
    points = [p for p in points if way is None or p["compensation"] == way] or []
    compensated = [p for p in points if p["compensation"] != "none"] or points
    return float(compensated[0]["mean"]) if compensated else None


def todo(
    figure: Figure, found: Sequence[tuple[Planned, Run | None]], extra: Sequence[str]
) -> Iterator[tuple[Planned, dict[str, Any], Path]]:
    """Configuration of every evaluation that is missing, each once."""
    from engine.experiment.runs import run_folder

    seen: set[Path] = set()
    for run, trained in found:
        if trained is None or with_evaluation(figure, run, trained) is not None:
            continue
        config = configuration(figure, run, trained.folder, extra)
        folder = run_folder(config)
        if folder not in seen:
            seen.add(folder)
            yield run, config, folder
