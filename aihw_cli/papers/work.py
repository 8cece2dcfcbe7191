"""Run what is missing of a figure, each point an ordinary run in its own process, by the mechanism of sweeps."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

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


def work_off(runs: Sequence[Planned], *, options: Mapping[str, str], stream: TextIO) -> int:
    """Do the runs, in a sweep's folder of their own. Returns the exit code."""
    sweep = _sweep(runs)
    with drive.locked(sweep.folder):
        if (sweep.folder / MANIFEST).is_file():
            sweep = load(sweep.folder)
        sweep.options = drive.read_options(options, sweep.options)
        return drive.work_off(sweep, stream)


def _sweep(runs: Sequence[Planned]) -> Sweep:
    names = list(dict.fromkeys(run.point.name for run in runs))
    configs: dict[str, str] = {}
    jobs = []
    values = list(configurations(runs))
    for run, config in zip(runs, values, strict=True):
        configs.setdefault(run.point.name, as_text(config))
        jobs.append(Job(names.index(run.point.name), run.seed, run_folder(config)))
    digest = hashlib.sha256(json.dumps([(run.words, run.seed) for run in runs]).encode()).hexdigest()[:DIGITS]
    folder = jobs[0].folder.parent / f"reproduce-{digest}"
    return Sweep(folder, [{"point": name} for name in names], list(configs.values()), jobs)
