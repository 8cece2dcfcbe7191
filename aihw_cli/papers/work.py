"""Run what is missing of figures, each point an ordinary run in its own process, by the mechanism
of sweeps."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from aihw_cli.papers import evaluations
from aihw_cli.papers.collect import identity, recorded
from aihw_cli.papers.figures import Chosen, Planned, configurations, planned
from aihw_cli.sweeps import drive
from aihw_cli.sweeps.manifest import Job, Sweep, load
from aihw_cli.sweeps.plan import DIGITS, as_text
from aihw_cli.sweeps.stored import has_manifest
from engine.experiment.identity import LEFT_OUT
from engine.experiment.reproduce.spec import Figure
from engine.experiment.runs import folder_name, run_folder
from engine.presets import nearest
from engine.settings import UserError

Entry = tuple[Planned, dict[str, Any], Path]
FREE = sorted(
    f"{part}.{key}"
    for part in ("run", "dataset")
    for key in LEFT_OUT[part]
    if key != "seed"
)


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


def possible(
    chosen: Sequence[Chosen], extra: Sequence[str], tell: Callable[[str], None]
) -> tuple[list[Chosen], bool]:
    """The figures that can run here, and whether one of a group cannot; a line for each reason.
    Raises UserError for one that was named, and if all lack the same."""
    kept, failed = [], False
    lacking: dict[str, list[str]] = {}
    for each in chosen:
        reason = "" if each.named or each.scaled else each.figure.needs
        try:
            if not reason:
                run = next(planned(each.figure, scaled=each.scaled, extra=extra))
                run_folder(next(configurations([run])))
                kept.append(each)
        except UserError as error:
            if each.named:
                raise
            reason, failed = str(error), True
        if reason:
            lacking.setdefault(reason, []).append(each.figure.name)
    if failed and not kept and len(lacking) == 1:
        raise UserError(
            f"none of these {len(chosen)} figures can run: {next(iter(lacking))}"
        )
    for line in _left_out(lacking):
        tell(line)
    return kept, failed


def _left_out(lacking: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A line for each reason with the figures that it holds for: most often they all lack the same
    dataset."""
    for reason, names in lacking.items():
        yield f"left out: {', '.join(names)}: {reason}"


def missing(chosen: Sequence[Chosen], root: Path, extra: Sequence[str]) -> list[Entry]:
    """The runs of figures that are not recorded, the longest first; what figures of a paper share
    is done once."""
    entries: dict[tuple[str, int, str], Entry] = {}
    for figure, scaled in ((c.figure, c.scaled) for c in chosen):
        runs = list(planned(figure, scaled=scaled, extra=extra))
        for run, config, found in recorded(figure, runs, root):
            if found is None:
                entries.setdefault(
                    (figure.paper, run.seed, identity(config)),
                    (run, config, run_folder(config)),
                )
    return sorted(entries.values(), key=lambda entry: -entry[0].minutes)


def unevaluated(
    chosen: Sequence[Chosen], root: Path, extra: Sequence[str]
) -> list[Entry]:
    """The evaluations that trained runs of figures on inference still lack."""
    entries: list[Entry] = []
    for figure, scaled in ((c.figure, c.scaled) for c in chosen if c.figure.evaluate):
        runs = list(planned(figure, scaled=scaled, extra=extra))
        entries += evaluations.todo(
            figure,
            [(run, found) for run, _, found in recorded(figure, runs, root)],
            extra,
        )
    return entries


def work_off(
    entries: Sequence[Entry],
    root: Path,
    *,
    options: Mapping[str, str],
    stream: TextIO,
    until: float,
) -> int:
    """Do the runs, all in one queue, until `until` of the monotonic clock. Returns the exit
    code."""
    sweep = _sweep(entries, _sweep_home(entries, root))
    with drive.locked(sweep.folder):
        if has_manifest(sweep.folder):
            sweep = load(sweep.folder)
        sweep.options = drive.read_options(options, sweep.options)
        return drive.work_off(sweep, stream, until=until)


def _sweep_home(entries: Sequence[Entry], root: Path) -> Path:
    """Where the folder of the sweep goes: that of its figure if all runs are there, as the runs of
    a sweep lie beside it, else that of all figures."""
    homes = {root / folder_name(run.figure) for run, *_ in entries}
    home = min(homes)
    whole = len(homes) == 1 and all(path.is_relative_to(home) for *_, path in entries)
    return home if whole else root


def _sweep(entries: Sequence[Entry], place: Path) -> Sweep:
    """A sweep of given runs, each with its point, configuration and folder; its own folder lies in
    `place`."""
    names: list[dict[str, str]] = []
    numbers: dict[str, int] = {}
    jobs = []
    for run, config, folder in entries:
        text = as_text(config | {"run": {**config["run"], "seed": 0}})
        if text not in numbers:
            numbers[text] = len(names)
            names.append({"figure": run.figure, "point": run.point.name})
        jobs.append(Job(numbers[text], run.seed, folder))
    told = json.dumps(
        [[*numbers], [str(job.folder) for job in jobs]]
    )  # folders do not tell devices and threads
    digest = hashlib.sha256(told.encode()).hexdigest()[:DIGITS]
    return Sweep(place / f"reproduce-{digest}", names, [*numbers], jobs)
