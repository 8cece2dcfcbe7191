"""Train a run in its folder, or do its task, or go on with one that was interrupted."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.experiment import record
from engine.experiment.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from engine.experiment.data import fingerprint
from engine.experiment.files import writing
from engine.experiment.identity.program import changed_since
from engine.experiment.interrupt import Interrupt
from engine.experiment.lifecycle.resuming import (
    allow,
    altered,
    altered_inference,
    check_identity,
    note_program,
)
from engine.experiment.lifecycle.stopping import is_best, stopped_note
from engine.experiment.lifecycle.summary import summarise
from engine.experiment.lifecycle.verdict import DIVERGED, FINISHED, judge
from engine.experiment.runs import (
    DONE,
    RunFolder,
    check_inside_run,
    config_to_resume,
    has_metrics,
    read_record,
    read_summary,
    replace_config,
    run_status,
    stored_config,
)
from engine.experiment.tasks import TRAIN, find_task, task_of
from engine.readers.wording import first_line
from engine.settings import UserError
from engine.trust.code import check_code_in
from engine.trust.load import in_full

if TYPE_CHECKING:
    import torch

    from engine.experiment.loop import Loop

    Checkpoint = tuple[dict[str, torch.Tensor], dict[str, Any], list[str]]

REPORT_SECONDS = 0.1


class Reporter(Protocol):
    """Who is told how a run goes."""

    def started(
        self, config: Mapping[str, Any], folder: Path, steps_per_epoch: int
    ) -> None: ...
    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None: ...
    def epoch(self, row: Mapping[str, Any]) -> None: ...
    def finished(self, summary: Mapping[str, Any]) -> None: ...
    def message(self, text: str) -> None: ...


def train(
    config: Mapping[str, Any],
    folder: Path,
    reporter: Reporter,
    *,
    changed_program: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train `config` in `folder`, or do its task. Returns the summary; a run that is there is
    reported, or resumed. `command` are the words of the command line, for the record."""
    check_inside_run(folder)
    if run_status(folder) != "absent":
        return resume(folder, reporter, config=config, changed_program=changed_program)
    if task_of(config) != TRAIN:
        return _begin_task(config, folder, reporter, command)
    from engine.experiment.loop import Loop

    config = stored_config(config)
    loop = Loop(config)
    more = {
        "data": fingerprint(config["dataset"]),
        "samples": loop.samples(),
        **({"normalization": loop.data.statistics} if loop.data.statistics else {}),
        "device": str(loop.device),
        "threads": _threads(),
        "command": list(command),
    }
    with RunFolder.create(folder, config, **more) as run:
        run.log(f"started on {loop.device}")
        return _Training(run, loop, reporter).go()


def resume(
    folder: Path,
    reporter: Reporter,
    *,
    config: Mapping[str, Any] | None = None,
    changed_program: bool = False,
) -> dict[str, Any]:
    """Go on with the run in `folder` from its last whole checkpoint; a run that is done is only
    reported.

    `config` is the configuration of the command that goes on, if it differs from the recorded one
    in what decides no result. `changed_program` lets a run go on that another program began.
    """
    status, before = run_status(folder), config_to_resume(folder)
    config = before if config is None else stored_config(config)
    check_code_in(config, folder)
    if status in DONE:
        return _already_done(folder, before, config, reporter)
    check_identity(folder, read_record(folder), config, changed_program=changed_program)
    # A record that stays as it is is not written again.
    with RunFolder.open(folder, None if config == before else config) as run:
        for change in (*altered(before, config), *altered_inference(before, config)):
            run.log(change)
        for change in altered(before, config):
            reporter.message(change)
        if task_of(config) != TRAIN:
            return _resume_task(run, config, reporter, changed_program=changed_program)
        return _resume_training(run, config, reporter, changed_program=changed_program)


def _already_done(
    folder: Path, before: dict[str, Any], config: Mapping[str, Any], reporter: Reporter
) -> dict[str, Any]:
    """The result of a run that is done; and whether this program would compute the same, and what
    of the command has no effect any more."""
    reporter.message(f"{folder} is {run_status(folder)} already")
    if changes := changed_since(read_record(folder)):
        reporter.message(
            f"another program computed this result ({'; '.join(changes)}); --again computes it anew"
        )
    for change in altered(before, config):
        reporter.message(
            f"{change.partition(' ')[0]} has no effect: the run is done already"
        )
    if keys := altered_inference(before, config):
        replace_config(folder, {**before, "inference": config["inference"]})
        reporter.message(f"{', '.join(keys)}: noted for `aihw eval {folder}`")
    summary = read_summary(folder)
    for text in summary.get("notes") or ():
        reporter.message(f"note: {text}")
    return summary


def _resume_task(
    run: RunFolder,
    config: Mapping[str, Any],
    reporter: Reporter,
    *,
    changed_program: bool,
) -> dict[str, Any]:
    changes, continued = changed_since(run.record), has_metrics(run.path)
    if continued:
        allow(run.path, changes, changed_program=changed_program)
    note_program(run, changes, place=(0, 0), continued=continued)
    run.update(status="running", resumed=record.now())
    return _work(run, config, reporter)


def _resume_training(
    run: RunFolder,
    config: Mapping[str, Any],
    reporter: Reporter,
    *,
    changed_program: bool,
) -> dict[str, Any]:
    from engine.experiment.loop import Loop

    changes, found = changed_since(run.record), load_checkpoint(run.path / "checkpoint")
    if found:
        allow(run.path, changes, changed_program=changed_program)
    loop = Loop(config)
    _load_into(run, loop, found, reporter)
    place = (loop.place.epoch, loop.place.batch)
    note_program(run, changes, place=place, continued=found is not None)
    run.update(
        status="running",
        device=str(loop.device),
        threads=_threads(),
        resumed=record.now(),
    )
    run.log(f"resumed after epoch {place[0]}, step {place[1]}")
    reporter.message(f"resuming {run.path} after epoch {place[0]}, step {place[1]}")
    if changes and found:
        reporter.message(f"the program changed on the way: {'; '.join(changes)}")
    run.write_metrics(loop.place.rows)
    return _Training(run, loop, reporter).go()


def _load_into(
    run: RunFolder, loop: Loop, found: Checkpoint | None, reporter: Reporter
) -> None:
    """Load a checkpoint into the loop. Raises UserError if it is of another run."""
    if found is None:
        if has_metrics(run.path):
            same = "" if changed_since(run.record) else " and repeats every bit"
            reporter.message(
                f"{run.path} has no checkpoint any more: its training starts anew{same}"
            )
        return
    tensors, state, problems = found
    if state.get("run") != run.record["id"]:
        raise UserError(
            f"{run.path / 'checkpoint'} belongs to another run ({state.get('run')}), not to {run.record['id']}"
        )
    _load(loop, tensors, state, run.path)
    for line in problems:
        run.log(line)
        reporter.message(line)


def _load(
    loop: Loop, tensors: Mapping[str, Any], state: Mapping[str, Any], folder: Path
) -> None:
    """Raises UserError for a checkpoint that is whole and does not hold what a run needs."""
    try:
        loop.load(tensors, state)
    except UserError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RuntimeError,
    ) as problem:
        reason = f"{type(problem).__name__}: {first_line(problem)}"
        raise UserError(
            f"the checkpoint of {folder} does not hold what its run needs ({reason}); "
            f"delete {folder / 'checkpoint'}, and training starts anew"
        ) from problem


def _threads() -> int:
    from engine.jit import team

    return team.threads()


def _begin_task(
    config: Mapping[str, Any], folder: Path, reporter: Reporter, command: Sequence[str]
) -> dict[str, Any]:
    """Do the task of `config` in the new run folder `folder` and return its summary."""
    config = stored_config(config)
    task = find_task(task_of(config))
    if hasattr(task, "examine"):
        task.examine(config)
    more = {"task": task_of(config), "command": list(command)}
    with RunFolder.create(folder, config, **more) as run:
        run.log("started")
        return _work(run, config, reporter)


def _work(
    run: RunFolder, config: Mapping[str, Any], reporter: Reporter
) -> dict[str, Any]:
    """Do the task in a run folder that this process holds. Its status says how it ended, whatever
    happens."""
    start = time.perf_counter()
    try:
        reporter.started(config, run.path, 0)
        _tell_processor(run, config, reporter)
        figures = find_task(task_of(config)).run(config, run, reporter)
    except KeyboardInterrupt:
        _leave_task(run, "interrupted", "interrupted", start)
        raise
    except UserError as problem:
        _leave_task(run, "failed", in_full(problem), start)
        raise
    except Exception as problem:
        _leave_task(
            run, "failed", "".join(traceback.format_exception(problem)).rstrip(), start
        )
        raise
    figure = find_task(task_of(config)).FIGURE
    useless = isinstance(figures[figure], float) and not math.isfinite(figures[figure])
    summary = {
        "status": DIVERGED if useless else FINISHED,
        "name": run.record["name"],
        "task": task_of(config),
        "figure": figure,
        **figures,
        "seconds": round(time.perf_counter() - start, 3),
        "seed": run.record["seed"],
    }
    if useless:
        summary |= {"reason": f"{figure} is {figures[figure]}", figure: None}
    run.finish(summary)
    run.log(str(summary["status"]))
    reporter.finished(summary)
    return summary


def _leave_task(run: RunFolder, status: str, text: str, start: float) -> None:
    run.log(text)
    run.update(
        status=status, ended=record.now(), seconds=round(time.perf_counter() - start, 3)
    )


def _tell_processor(
    run: RunFolder, config: Mapping[str, Any], reporter: Reporter
) -> None:
    """Say why a GPU is passed over, before hours are spent without it, and how digital layers
    compute."""
    from engine.experiment.precision import remark
    from engine.experiment.processor import without_gpu

    for text in (without_gpu(config["run"]), remark(config["run"])):
        if text:
            run.log(text)
            reporter.message(text)


class _Training:
    """The course of one run: steps, reports, checkpoints, and what is left behind when it ends."""

    def __init__(self, run: RunFolder, loop: Loop, reporter: Reporter) -> None:
        self.run, self.loop, self.reporter = run, loop, reporter
        self.every = int(loop.config["run"].get("checkpoint_every") or 0)
        self.reported = 0.0
        self.begin = time.perf_counter() - loop.place.seconds
        self.saved = (-1, -1)

    def go(self) -> dict[str, Any]:
        """Train to the end. The status of the run folder says how it ended, whatever happens."""
        try:
            with Interrupt() as interrupt:
                self.reporter.started(
                    self.loop.config, self.run.path, self.loop.steps_per_epoch
                )
                _tell_processor(self.run, self.loop.config, self.reporter)
                self._epochs(interrupt)
                return self._finish()
        except KeyboardInterrupt:
            self._leave("interrupted", "interrupted")
            raise
        except UserError as problem:
            self._leave("failed", in_full(problem))
            raise
        except Exception as problem:
            self._leave("failed", "".join(traceback.format_exception(problem)).rstrip())
            raise

    def _epochs(self, interrupt: Interrupt) -> None:
        loop = self.loop
        while (
            loop.place.epoch < loop.epochs and not self._hopeless() and not loop.stops()
        ):
            self._steps(interrupt)
            row = loop.end_epoch(time.perf_counter() - self.begin)
            last = loop.place.epoch == loop.epochs or self._hopeless() or loop.stops()
            if not self.every or last:
                self._save()
            if loop.config["run"].get("keep_best") and is_best(loop.place.rows):
                self._save(BEST)
            self.run.write_metrics(loop.place.rows)
            self.run.log(", ".join(f"{key} {value}" for key, value in row.items()))
            self.reporter.epoch(row)
            if interrupt.requested and not last:
                self._stop()

    def _steps(self, interrupt: Interrupt) -> None:
        place = self.loop.place
        for loss in self.loop.steps():
            if self.every and place.steps % self.every == 0:
                self._save()
            now = time.perf_counter()
            if now - self.reported > REPORT_SECONDS:
                # The speed of the whole run so far: an epoch may be shorter than the time between
                # two reports.
                speed = (
                    place.samples / place.training_seconds
                    if place.training_seconds > 0
                    else 0.0
                )
                mean = self.loop.mean_loss(loss, self.loop.step_samples)
                self.reporter.step(place.epoch + 1, place.batch, mean, speed)
                self.reported = now
            if interrupt.requested and place.batch < self.loop.steps_per_epoch:
                self._stop()

    def _stop(self) -> None:
        self._save()
        raise KeyboardInterrupt

    def _save(self, folder: str = LAST) -> None:
        place = (self.loop.place.epoch, self.loop.place.batch)
        if place == self.saved and folder == LAST:
            return
        self.loop.place.seconds = time.perf_counter() - self.begin
        state = {"run": self.run.record["id"], **self.loop.state()}
        with writing("the checkpoint", self.run.path):
            save_checkpoint(
                self.run.path / folder, place, tensors=self.loop.tensors(), state=state
            )
        if folder == LAST:
            self.saved = place

    def _hopeless(self) -> bool:
        """Whether the loss of the last epoch is infinite or undefined; more epochs would not bring
        it back."""
        rows = self.loop.place.rows
        if not rows:
            return False
        if math.isfinite(rows[-1]["train_loss"]):
            return not math.isfinite(rows[-1]["test_loss"]) and not self.loop.finite()
        return True

    def _finish(self) -> dict[str, Any]:
        config, found = self.loop.config, self.run.record
        verdict = judge(config, self.loop.outcome(), found.get("command") or ())
        summary = summarise(self.loop.place, found, verdict)
        early = stopped_note(self.loop.place.rows, config["run"])
        summary["notes"] = [*early, *summary["notes"]]
        self.run.finish(summary)
        for line in filter(None, (verdict.status, verdict.reason, *summary["notes"])):
            self.run.log(line)
        self.reporter.finished(summary)
        return summary

    def _leave(self, status: str, text: str) -> None:
        """Note the end as far as the disk allows: the reason for it must not be hidden by a second
        error."""
        try:
            self.run.log(text)
            self.run.update(
                status=status,
                ended=record.now(),
                seconds=round(time.perf_counter() - self.begin, 3),
            )
        except UserError as problem:
            self.reporter.message(str(problem))
