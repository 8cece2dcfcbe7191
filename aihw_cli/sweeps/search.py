"""`aihw search`: trials proposed by Optuna, run as the points of a sweep, told back as they end.

The folder is that of a sweep with study.db beside it, Optuna's memory. The manifest and the run
folders are the truth: a study that lags behind them, or is lost, is brought up to date from them.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments
from aihw_cli.effects import refuse_equal_points, refuse_without_effect
from aihw_cli.output import say
from aihw_cli.sweeps import drive
from aihw_cli.sweeps.manifest import Job, Sweep, load
from aihw_cli.sweeps.plan import Composer, as_text, seeds_of, sweep_folder
from aihw_cli.sweeps.space import Dimension, from_recipe, point, split
from aihw_cli.sweeps.stored import has_manifest
from aihw_cli.sweeps.view import search_lines
from engine.experiment.files import writing
from engine.experiment.tasks import TRAIN, find_task, task_of
from engine.records.group import less_is_better
from engine.settings import UserError
from engine.trust.files import check_no_link, open_plain

STUDY = "study.db"
# What SQLite keeps beside its file.
JOURNALS = ("-journal", "-wal", "-shm")
TRIALS = 20
# The words of a manifest may be a stranger's; the data of its runs are there already.
OFFLINE = ("dataset.download=false",)
# What a training can be judged by; the first ones need a validation split, which they get.
VALIDATED = ("valid_accuracy", "best_valid_accuracy", "valid_loss")
METRICS = (*VALIDATED, "test_accuracy", "best_test_accuracy", "test_loss")
VALID_PART, SHARE = "dataset.valid_part", 0.1


class Study:
    """Optuna's view of a search, and the search's of Optuna."""

    def __init__(
        self, sweep: Sweep, composer: Composer, more: Sequence[str] = ()
    ) -> None:
        self.sweep, self.composer = sweep, composer
        self.settings = sweep.search
        self.fixed: list[str] = [*self.settings["fixed"], *more]
        self.base = composer.compose(self.fixed, whole=True)
        self.dimensions = [
            Dimension(**{**d, "choices": tuple(d["choices"])})
            for d in self.settings["space"]
        ]
        self.optuna = _optuna()
        self.study = self._open(sweep.folder / STUDY)
        self.distributions = {d.key: d.distribution() for d in self.dimensions}
        self._catch_up()

    def missing(self) -> int:
        """Runs that are not even planned yet."""
        return max(0, self.settings["trials"] - len(self.sweep.points)) * int(
            self.settings["seeds"]
        )

    def feed(self) -> list[Job]:
        """The runs of a further trial, or nothing if there are enough."""
        if not self.missing():
            return []
        # Drawn anew for each trial, so that a search that was interrupted goes on as if it had not
        # been.
        number = len(self.sweep.points)
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=int(self.settings["seed"]) + number
        )
        trial = self.study.ask(self.distributions)
        jobs = self._add(trial.params)
        self.sweep.save_points()
        self.sweep.save()
        return jobs

    def ended(self, job: Job) -> None:
        """Tell the value of a trial when its last run has ended. A trial with a failed run stays
        open."""
        runs = [other for other in self.sweep.jobs if other.point == job.point]
        if all(run.done for run in runs):
            self._tell(job.point, runs)

    def _tell(self, number: int, runs: Sequence[Job]) -> None:
        metric, values = self.settings["metric"], []
        for run in runs:
            summary = run.summary()
            if metric not in summary:
                known = [
                    key for key, value in summary.items() if isinstance(value, float)
                ]
                raise UserError(f"--metric {metric}: the runs have {', '.join(known)}")
            values.append(
                math.nan if summary[metric] is None else float(summary[metric])
            )
        value = statistics.fmean(values)
        state = None if math.isfinite(value) else self.optuna.trial.TrialState.FAIL
        self.study.tell(
            number, None if state else value, state=state, skip_if_finished=True
        )

    def _add(self, params: Mapping[str, Any]) -> list[Job]:
        keys = point(self.dimensions, params)
        words = [*self.fixed, *(f"{k}={v}" for k, v in keys.items())]
        config = self.composer.compose(words)
        self.sweep.points.append(keys)
        self.sweep.configs.append(as_text(config))
        # Beside the search, wherever it was moved to and whatever its manifest says.
        home = self.sweep.folder.parent
        found = seeds_of(len(self.sweep.points) - 1, config)
        jobs = [replace(job, folder=home / job.folder.name) for job in found]
        self.sweep.jobs += jobs
        return jobs

    def _open(self, path: Path) -> Any:
        with writing("the study", path.parent):
            check_no_link(*(path.with_name(path.name + end) for end in JOURNALS))
            os.close(open_plain(path, os.O_RDWR | os.O_CREAT))
        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        try:
            return self.optuna.create_study(
                storage=f"sqlite:///{path}",
                study_name="aihw",
                direction=self.settings["direction"],
                load_if_exists=True,
            )
        except Exception as error:  # whatever the database says of a damaged file
            text = str(error).splitlines()[0]
            raise UserError(
                f"{path}: {text}; without this file the study is made anew from the runs"
            ) from None

    def _catch_up(self) -> None:
        """Trials that only one of the two knows, and values that were not told before a crash."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials[len(self.sweep.points) :]:
            self._add(trial.params)
        for keys in self.sweep.points[len(trials) :]:
            params = {
                d.key: keys[d.key] if d.choices else json.loads(keys[d.key])
                for d in self.dimensions
            }
            running = self.optuna.trial.TrialState.RUNNING
            self.study.add_trial(
                self.optuna.trial.create_trial(
                    state=running, params=params, distributions=self.distributions
                )
            )
        for number in range(len(self.sweep.points)):
            runs = [job for job in self.sweep.jobs if job.point == number]
            if all(job.done for job in runs):
                self._tell(number, runs)


def search(arguments: Arguments) -> int:
    """Plan a search, or find the one of the same words, and run its trials."""
    _optuna()
    planned = _plan(arguments)
    for text in planned.notes:
        say(f"note: {text}", stream=sys.stderr)
    return go_on(planned, arguments)


def go_on(planned: Sweep, arguments: Arguments) -> int:
    """Run the trials that are missing."""
    as_json = arguments.has("--json")
    stream = sys.stderr if as_json else sys.stdout
    with drive.locked(planned.folder):
        stored = has_manifest(planned.folder)
        sweep = load(planned.folder) if stored else planned
        sweep.options = drive.read_options(arguments.options, sweep.options)
        sweep.changed_program = arguments.has("--changed-program")
        if arguments.has("--trials"):
            sweep.search["trials"] = _trials(arguments)
        allow = arguments.has("--allow-code")
        study = Study(sweep, Composer(allow), OFFLINE if stored else ())
        code = drive.work_off(
            sweep, stream, flags=" --allow-code" if allow else "", source=study
        )
    drive.tell(sweep, code, as_json=as_json)
    for line in search_lines(sweep) if code != drive.INTERRUPTED else ():
        say(line, stream=stream)
    return code


def _plan(arguments: Arguments) -> Sweep:
    given, fixed = split(arguments.words)
    # The recipe is read again for each trial, also when the search goes on from another folder.
    fixed = [
        f"conf={Path(w[5:]).absolute()}"
        if w.startswith("conf=") and Path(w[5:]).is_file()
        else w
        for w in fixed
    ]
    composer = Composer(arguments.has("--allow-code"))
    metric, more, remark = _selection(
        composer.compose(fixed, whole=True), fixed, arguments
    )
    fixed += more
    base = composer.compose(fixed, whole=True)
    # What the command line fixes or varies goes before the recipe's own search.
    taken = {d.key for d in given} | {word.partition("=")[0] for word in fixed}
    dimensions = [
        *given,
        *(d for d in from_recipe(base["search"]) if d.key not in taken),
    ]
    if not dimensions:
        raise UserError(
            "nothing to search: give a key an interval, such as 'device.dw_min=interval(1e-4,1e-2)'"
        )
    configs = []
    for dimension in dimensions:
        points = [{dimension.key: str(value)} for value in dimension.extremes()]
        ends = [
            composer.compose(
                [*fixed, f"{dimension.key}={point[dimension.key]}"], whole=True
            )
            for point in points
        ]
        refuse_equal_points(points, ends)
        configs += ends
    notes = [*composer.notes, *remark, *refuse_without_effect(fixed, configs)]
    smaller = arguments.has("--minimize") or less_is_better(metric)
    settings = {
        "metric": metric,
        "direction": "minimize" if smaller else "maximize",
        "space": [asdict(d) for d in dimensions],
        "fixed": fixed,
        "seed": base["run"]["seed"],
        "seeds": base["seeds"],
    }
    folder = sweep_folder(base, "search", [base, settings])
    trials = _trials(arguments)
    words = list(arguments.words)
    return Sweep(
        folder,
        [],
        [],
        [],
        words=words,
        notes=notes,
        search={**settings, "trials": trials},
    )


def _selection(
    base: Mapping[str, Any], fixed: Sequence[str], arguments: Arguments
) -> tuple[str, list[str], list[str]]:
    """The metric that chooses, the words that set data aside for it, and what to tell about it.
    Test data choose only if they are asked for. Raises UserError."""
    wanted = arguments.options.get("--metric")
    if task_of(base) != TRAIN:
        figure = find_task(task_of(base)).FIGURE
        return wanted or str(figure), [], []
    metric = wanted or METRICS[0]
    if metric not in METRICS:
        raise UserError(f"--metric {metric}: a training has {', '.join(METRICS)}")
    if metric not in VALIDATED:
        text = f"--metric {metric} selects on test data: the best value is better than it will be on new data"
        return metric, [], [text]
    if base["dataset"]["valid_part"] > 0:
        return metric, [], []
    if any(word.partition("=")[0] == VALID_PART for word in fixed):
        raise UserError(
            f"{VALID_PART}=0: a search chooses by {metric}, which needs training samples set aside; "
            "--metric test_accuracy selects on test data"
        )
    remark = (
        f"{VALID_PART}={SHARE}: that share of the training samples is set aside to choose by "
        f"(--metric test_accuracy would select on test data)"
    )
    return metric, [f"{VALID_PART}={SHARE}"], [remark]


def _trials(arguments: Arguments) -> int:
    trials = drive.count("--trials", arguments.options.get("--trials", str(TRIALS)))
    if not trials:
        raise UserError("--trials must be at least 1")
    return trials


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "aihw search needs Optuna: pip install 'aihw[search]'"
        ) from None
    return optuna
