"""Run what is missing of a figure, each point an ordinary run in its own process, by the mechanism of sweeps."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from aihw_cli.papers import evaluations
from aihw_cli.papers.collect import recorded
from aihw_cli.papers.figures import Planned, configurations, planned
from aihw_cli.sweeps import drive
from aihw_cli.sweeps.manifest import MANIFEST, Job, Sweep, load
from aihw_cli.sweeps.plan import DIGITS, as_text
from engine.experiment.identity import LEFT_OUT
from engine.experiment.reproduce.spec import Figure
from engine.experiment.runs import run_folder
from engine.presets import nearest
from engine.settings import UserError

Entry = tuple[Planned, dict[str, Any], Path]
FREE = sorted(f"{part}.{key}" for part in ("run", "dataset") for key in LEFT_OUT[part] if key != "seed")


def check_words(words: Sequence[str]) -> None:
    """Refuse changes that would make it another experiment. Raises UserError."""
    for word in words:
        key = word.partition("=")[0]
        if key not in FREE and not key.startswith("run.cluster."):
            raise UserError(
                f"{word!r} is not for reproduce, which keeps to the paper; {nearest(key, FREE)}\n"
                f"for another experiment: aihw train conf=PAPER/FIGURE {word}"
            )


def commands(figure: Figure, *, scaled: bool, extra: Sequence[str]) -> Iterator[str]:
    """One `aihw train` line for each run of a figure, for a cluster or a file of jobs."""
    for run in planned(figure, scaled=scaled, extra=extra):
        yield "aihw train " + " ".join(shlex.quote(word) for word in run.words)


def missing(figure: Figure, root: Path, *, scaled: bool, extra: Sequence[str]) -> list[Planned]:
    """The runs of a figure that are not recorded."""
    runs = list(planned(figure, scaled=scaled, extra=extra))
    return [run for run, found in recorded(figure, runs, root) if found is None]


def unevaluated(figure: Figure, root: Path, *, scaled: bool, extra: Sequence[str]) -> list[Entry]:
    """The evaluations that trained runs of a figure on inference still lack."""
    found = list(recorded(figure, list(planned(figure, scaled=scaled, extra=extra)), root))
    return list(evaluations.todo(figure, found, extra))


def evaluate(entries: Sequence[Entry], place: Path, *, options: Mapping[str, str], stream: TextIO) -> int:
    """Do evaluations, with the sweep's folder in `place`. Returns the exit code."""
    return work_off(_sweep(entries, place), options=options, stream=stream)


def train(runs: Sequence[Planned], *, options: Mapping[str, str], stream: TextIO) -> int:
    """Do the runs. Returns the exit code."""
    values = zip(runs, configurations(runs), strict=True)
    jobs = [(run, config, run_folder(config)) for run, config in values]
    unique = {folder: (run, config, folder) for run, config, folder in reversed(jobs)}
    first = [unique[folder] for folder in dict.fromkeys(folder for *_, folder in jobs)]
    return work_off(_sweep(first, jobs[0][2].parent), options=options, stream=stream)


def work_off(sweep: Sweep, *, options: Mapping[str, str], stream: TextIO) -> int:
    """Do the runs of a sweep. Returns the exit code."""
    with drive.locked(sweep.folder):
        if (sweep.folder / MANIFEST).is_file():
            sweep = load(sweep.folder)
        sweep.options = drive.read_options(options, sweep.options)
        return drive.work_off(sweep, stream)


def _sweep(entries: Sequence[Entry], place: Path) -> Sweep:
    """A sweep of given runs, each with its point, configuration and folder; its own folder lies in `place`."""
    names: list[dict[str, str]] = []
    configs: list[str] = []
    jobs = []
    for run, config, folder in entries:
        text = as_text(config | {"run": {**config["run"], "seed": 0}})
        if text not in configs:
            configs.append(text)
            names.append({"point": run.point.name})
        jobs.append(Job(configs.index(text), run.seed, folder))
    digest = hashlib.sha256(json.dumps([str(job.folder) for job in jobs]).encode()).hexdigest()[:DIGITS]
    return Sweep(place / f"reproduce-{digest}", names, configs, jobs)
