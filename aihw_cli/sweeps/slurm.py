"""Runs as jobs of a Slurm cluster, through submitit. Its executor `local` does the same on this
machine, for a try."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aihw_cli.sweeps import worker
from aihw_cli.sweeps.executors import UNLIMITED
from aihw_cli.sweeps.worker import Task, absolute
from engine.settings import UserError, no_modules_of_folder

LOST = -signal.SIGKILL
POLL_SECONDS = 0.5
FOR_EVER = 60 * 24 * 365


class Point:
    """What a job calls. Slurm warns it before it must give way or its time is over; then it goes on
    in a new job."""

    def __init__(self, apart: bool) -> None:
        self.apart = apart

    def __call__(self, task: Task) -> int:
        if self.apart:
            # On this machine the terminal would interrupt it beside its parent.
            os.setsid()
        return worker.work(task)

    def checkpoint(self, task: Task) -> Any:
        """The job that goes on from the last checkpoint in the run folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


class Job:
    """A job that was handed in."""

    def __init__(self, job: Any, here: bool) -> None:
        self.job = job
        self.here = here

    def exit_code(self) -> int | None:
        if not self.job.done():
            return None
        if not self.job.paths.result_pickle.exists():
            return LOST
        return LOST if self.job.exception() else int(self.job.result())

    def interrupt(self) -> None:
        if self.here:
            self._signal(signal.SIGTERM)
        else:
            self.job.cancel()

    def kill(self) -> None:
        self.job.cancel()

    def _signal(self, number: signal.Signals) -> None:
        # The number of a job on this machine is that of the process that hands signals on to it.
        if not self.job.done():
            os.kill(int(self.job.job_id), number)


class Submitit:
    """Hands every run to submitit. `run.cluster` holds its parameters; `cluster` in it is slurm or
    local."""

    def __init__(self, folder: Path, cluster: Mapping[str, Any], slots: int) -> None:
        submitit = _submitit()
        settings = dict(cluster)
        try:
            name = settings.pop("cluster", None) or submitit.AutoExecutor.which()
            self.here = name != "slurm"
            if self.here:
                settings.setdefault("timeout_min", FOR_EVER)
            elif "timeout_min" not in settings:
                raise UserError(
                    "run.cluster.timeout_min is missing: the minutes after which Slurm ends a run"
                )
            self.executor = submitit.AutoExecutor(
                folder=folder.absolute(), cluster=name
            )
            self.executor.update_parameters(
                **{"name": "aihw", "cpus_per_task": 1, **settings}
            )
        except (ValueError, NameError, AssertionError, RuntimeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"run.cluster: {str(error).splitlines()[0]}") from None
        self.slots = 1 if self.here and slots == UNLIMITED else slots
        self.threads = int(settings.get("cpus_per_task", 1))

    def start(self, task: Task) -> Job:
        with _deaf_to_the_terminal(), no_modules_of_folder():
            return Job(
                self.executor.submit(Point(self.here), absolute(task)), self.here
            )

    def wait(self, seconds: float) -> None:
        time.sleep(max(seconds, POLL_SECONDS))

    def close(self) -> None:
        """Nothing to give back."""


@contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Processes that are started meanwhile inherit that they ignore Ctrl-C: the sweep tells them
    when to stop."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError(
            "run.executor=submitit needs submitit: pip install 'aihw[slurm]'"
        ) from None
    return submitit
