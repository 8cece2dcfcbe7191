"""Works off the runs of a sweep: several at a time; a failure stops no other, what crashed is tried
again."""

from __future__ import annotations

import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from aihw_cli.sweeps import worker
from aihw_cli.sweeps.executors import Executor, Handle
from aihw_cli.sweeps.manifest import Job, Sweep
from aihw_cli.sweeps.worker import Task
from engine.experiment.interrupt import Interrupt
from engine.settings import UserError
from engine.trust.code import code_permitted
from engine.trust.files import read_bytes

TICK = 0.1
BUSY_SECONDS = 1.0
SAVE_SECONDS = 2.0


class View(Protocol):
    """Who is told how a sweep goes."""

    def ended(self, job: Job) -> None: ...

    def note(self, text: str) -> None: ...

    def tick(self, running: Iterable[Job]) -> None: ...


class Scheduler:
    """`feed` is asked for further runs whenever a slot is free and none waits; `ended` hears of
    each that has ended.

    At `until` of the monotonic clock the runs are interrupted, and write their checkpoints.
    """

    def __init__(
        self, sweep: Sweep, executor: Executor, view: View, until: float = math.inf
    ) -> None:
        self.sweep, self.executor, self.view, self.until = sweep, executor, view, until
        self.feed: Callable[[], list[Job]] = list
        self.ended: Callable[[Job], None] = lambda job: None
        self.queue = deque(job for job in sweep.jobs if not job.done)
        self.running: dict[str, tuple[Job, Handle]] = {}
        self.stopping = False
        self._not_before: dict[str, float] = {}
        self._next_save = 0.0

    def run(self) -> bool:
        """Work until nothing is left. Returns False if it was interrupted; then all checkpoints are
        written."""
        late = False
        with Interrupt() as interrupt:
            try:
                while True:
                    if interrupt.requested and not self.stopping:
                        self.stop(
                            "interrupted: waiting for the checkpoints of the runs (Ctrl-C again kills them)"
                        )
                    if (
                        time.monotonic() > self.until
                        and not self.stopping
                        and (self.running or self.queue)
                    ):
                        late = True
                        self.stop(
                            "the time is over: waiting for the checkpoints of the runs"
                        )
                    self._launch()
                    if not self.running and (self.stopping or not self.queue):
                        return not (interrupt.requested or late)
                    self.executor.wait(TICK)
                    self._collect()
                    self.view.tick([job for job, _ in self.running.values()])
            except BaseException:
                for _, handle in self.running.values():
                    handle.kill()
                raise
            finally:
                self.sweep.save()
                self.executor.close()

    def stop(self, text: str) -> None:
        """Start nothing more, and ask what runs to write its checkpoint."""
        self.stopping = True
        self.view.note(text)
        for _, handle in self.running.values():
            handle.interrupt()

    def _launch(self) -> None:
        while not self.stopping and len(self.running) < self.executor.slots:
            if not self.queue:
                self.queue.extend(self.feed())
            job = self._next()
            if job is None:
                return
            try:
                job.status = job.look()
            except UserError as error:
                self._end(job, "failed", str(error))
                continue
            if job.done:
                self._end(job, job.status)
            elif job.status == "running":
                self._defer(job)
            else:
                self._start(job)

    def _next(self) -> Job | None:
        """The first run in the queue that nobody works on, here or elsewhere."""
        now = time.monotonic()
        for job in self.queue:
            if (
                str(job.folder) not in self.running
                and self._not_before.get(job.label, 0.0) <= now
            ):
                self.queue.remove(job)
                return job
        return None

    def _defer(self, job: Job) -> None:
        """Another process works on this run: look again later, as its result will be ours."""
        if job.label not in self._not_before:
            self.view.note(
                f"{self.sweep.name(job)}: another process works on {job.folder}; waiting for it"
            )
        job.status = "queued"
        self._not_before[job.label] = time.monotonic() + BUSY_SECONDS
        self.queue.append(job)

    def _start(self, job: Job) -> None:
        config = self.sweep.config(job)
        job.status, job.attempts = "running", job.attempts + 1
        threads = 0 if config["run"]["threads"] else self.executor.threads
        log, progress = self.sweep.log(job), self.sweep.progress(job)
        progress.unlink(missing_ok=True)
        task = Task(
            json.dumps(config),
            str(job.folder),
            str(log),
            str(progress),
            threads=threads,
            allow_code=code_permitted(),
            changed_program=self.sweep.changed_program,
        )
        self.running[str(job.folder)] = (job, self.executor.start(task))

    def _collect(self) -> None:
        for key, (job, handle) in list(self.running.items()):
            code = handle.exit_code()
            if code is not None:
                del self.running[key]
                self._judge(job, code)
        begun = time.monotonic()
        if begun > self._next_save:
            self.sweep.save()
            # The manifest of a large sweep takes long to write; what it lacks after a crash stands
            # in the run folders.
            self._next_save = time.monotonic() + max(
                SAVE_SECONDS, 50 * (time.monotonic() - begun)
            )

    def _judge(self, job: Job, code: int) -> None:
        """What an exit code means, together with the run folder, which is believed first."""
        try:
            status = job.look() if (job.folder / "run.json").is_file() else "queued"
        except UserError as error:
            self._end(job, "failed", str(error))
            return
        if status in ("finished", "diverged"):
            self._end(job, status)
        elif self.stopping:
            self._end(job, "queued" if status == "queued" else "interrupted")
        elif code == worker.BUSY:
            job.attempts -= 1
            self._defer(job)
        elif code in (worker.OK, worker.FAILED, worker.WRONG_INPUT):
            self._end(job, "failed", last_words(self.sweep.log(job)))
        elif job.attempts <= self.sweep.options.retries:
            job.status = "queued"
            self.view.note(
                f"{self.sweep.name(job)}: {_cause(code)}; attempt {job.attempts + 1}"
            )
            self.queue.appendleft(job)
        else:
            self._end(job, "failed", f"{_cause(code)}, {job.attempts} times")

    def _end(self, job: Job, status: str, error: str = "") -> None:
        job.status, job.error = status, error
        self.ended(job)
        self.view.ended(job)
        if status == "failed" and self.sweep.options.fail_fast and not self.stopping:
            self.stop("a run failed: stopping the others, as --fail-fast asks")


def last_words(log: Path) -> str:
    """Why a run failed, from its log."""
    try:
        text = read_bytes(log).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
    except OSError:
        lines = []
    reasons = [
        line for line in lines if line.startswith(("error: ", "the run failed: "))
    ]
    return (
        (reasons or lines or ["it said nothing"])[-1]
        .removeprefix("error: ")
        .removeprefix("the run failed: ")
    )


def _cause(code: int) -> str:
    if code == worker.INTERRUPTED:
        return "interrupted from outside"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"lost (exit code {code})"
