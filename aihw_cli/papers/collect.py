"""Recorded runs of a figure: found by their configuration, whichever command made them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aihw_cli.check import Checker
from aihw_cli.papers.evaluations import with_evaluation
from aihw_cli.papers.figures import SCALED, Planned, configurations, planned
from engine.experiment.identity import deciding, run_hash, sections_of
from engine.experiment.reproduce.judge import Judgement, Run, judge
from engine.experiment.reproduce.spec import Figure
from engine.experiment.runs import (
    DONE,
    folder_name,
    read_config,
    read_record,
    read_summary,
)
from engine.experiment.tasks import TRAIN, task_of
from engine.settings import UserError


def judged(figure: Figure, root: Path, *, scaled: bool) -> Judgement:
    """A figure with whatever of it is recorded below `root`."""
    found: dict[str, list[Run]] = {}
    if finished(root / folder_name(figure.name + SCALED * scaled)):
        for run, _, place in recorded(
            figure, list(planned(figure, scaled=scaled)), root
        ):
            whole = (
                with_evaluation(figure, run, place)
                if place and figure.evaluate
                else place
            )
            if whole is not None:
                found.setdefault(run.point.name, []).append(whole)
    return judge(figure, found, scaled=scaled)


def versions(figure: Figure, root: Path) -> list[Judgement]:
    """A figure in full and, where there is one, in its smaller version."""
    return [
        judged(figure, root, scaled=scaled)
        for scaled in ([False, True] if figure.scaled else [False])
    ]


def forget() -> None:
    """Look at the run folders anew."""
    finished.cache_clear()


def recorded(
    figure: Figure, runs: Sequence[Planned], root: Path
) -> Iterator[tuple[Planned, dict[str, Any], Run | None]]:
    """Each planned run, its configuration, and the finished one that has that and the seed, if
    there is any."""
    known: dict[tuple[str, int], Path] = {}
    for folder in _folders(figure, root):
        for key, path in finished(folder):
            known.setdefault(key, path)
    for run, config in zip(runs, configurations(runs), strict=True):
        found = known.get((identity(config), run.seed))
        yield run, config, _read(run.seed, found) if found else None


def identity(config: Mapping[str, Any]) -> str:
    """What decides a run beside its seed, its data and the physics texts: without cells, none of
    theirs do."""
    chosen = deciding(config)
    if (
        task_of(config) == TRAIN
        and config["algorithm"]["name"] == "digital"
        and not config["layers"]
    ):
        chosen = {
            part: values
            for part, values in chosen.items()
            if part not in ("device", "tile")
        }
    return json.dumps(chosen, sort_keys=True, default=str)


def _folders(figure: Figure, root: Path) -> list[Path]:
    """Where runs of a figure may lie: its own folders first, then those of the other figures of its
    paper."""
    own = folder_name(figure.name)
    names = [own, folder_name(figure.name + SCALED)]
    beside = sorted(
        path.name
        for path in root.glob(f"{folder_name(figure.paper)}-*")
        if path.is_dir()
    )
    return [
        root / name
        for name in dict.fromkeys([*names, *beside])
        if (root / name).is_dir()
    ]


@functools.cache
def finished(folder: Path) -> list[tuple[tuple[str, int], Path]]:
    """Configuration and seed of every finished run in a folder of runs, the newest first."""
    found = []
    for path in sorted(
        folder.glob("*/run.json"), key=lambda p: p.stat().st_mtime, reverse=True
    ):
        try:
            record = read_record(path.parent)
            if record["status"] in DONE:
                found.append(
                    ((identity(_stored(path.parent)), int(record["seed"])), path.parent)
                )
        except UserError:
            continue  # a run of another version, or a damaged one: it cannot count
    return found


def _stored(folder: Path) -> dict[str, Any]:
    """The configuration of a run, of this version's keys; parts that decide nothing in it are left
    out."""
    values = read_config(folder)
    kept = {"name", "task", "dataset", *sections_of(values)}
    return Checker({}, allow_code=False).complete(
        {k: v for k, v in values.items() if k in kept}
    )


def _read(seed: int, path: Path) -> Run | None:
    try:
        record, summary = read_record(path), read_summary(path)
    except UserError:
        return None
    try:
        older = record["hash"] != run_hash(_stored(path))
    except UserError:
        older = False  # the data are not here, so the hash cannot be made again
    return Run(seed, path, summary, record, older)
