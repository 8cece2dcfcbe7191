"""The scheduler alone, with an executor whose tasks end as they are told to."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from aihw_cli.sweeps import scheduler, worker
from aihw_cli.sweeps.manifest import Job, Options, Sweep
from aihw_cli.sweeps.plan import plan
from aihw_cli.sweeps.scheduler import Scheduler
from aihw_cli.sweeps.worker import Task
from engine.experiment.files import write_json

SEGMENTATION = -signal.SIGSEGV


class Ended:
    """A task that ended at once, with the next of some exit codes."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.told: list[str] = []

    def exit_code(self) -> int | None:
        return self.code

    def interrupt(self) -> None:
        self.told.append("interrupt")
        self.code = worker.INTERRUPTED

    def kill(self) -> None:
        self.told.append("kill")


class Script:
    """Hands out tasks with the exit codes of a list; code 0 leaves a finished run folder. None goes
    on for ever."""

    def __init__(self, codes: Sequence[int | None], slots: int = 1) -> None:
        self.codes, self.slots, self.threads = list(codes), slots, 1
        self.tasks: list[Task] = []
        self.handles: list[Ended] = []
        self.waiting: Callable[[], None] = lambda: None
        self.closed = False

    def start(self, task: Task) -> Ended:
        self.tasks.append(task)
        code = self.codes.pop(0)
        if code == 0:
            finish(Path(task.folder))
        self.handles.append(Ended(code))
        return self.handles[-1]

    def wait(self, seconds: float) -> None:
        self.waiting()

    def close(self) -> None:
        self.closed = True


class Silent:
    """Keeps what a view is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.jobs: list[str] = []

    def ended(self, job: Job) -> None:
        self.jobs.append(job.status)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tick(self, running: Iterable[Job]) -> None:
        pass


def finish(folder: Path) -> None:
    """The folder of a finished run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "run.json", {"format": 1, "status": "finished", "hash": "x", "id": "x"}
    )
    write_json(
        folder / "summary.json",
        {"status": "finished", "test_accuracy": 1.0, "seconds": 1.0},
    )


def sweep_of(points: int, options: Options | None = None) -> Sweep:
    """A sweep of that many points."""
    rates = ",".join(f"{n / 10}" for n in range(1, points + 1))
    found = plan([f"optimizer.lr={rates}", "run.threads=0"], multirun=True)
    found.options = options or Options()
    found.save_points()
    return found


def work_off(sweep: Sweep, script: Script) -> tuple[bool, Silent]:
    """Run the scheduler to its end."""
    view = Silent()
    whole = Scheduler(sweep, script, view).run()
    assert script.closed
    return whole, view


def test_what_crashes_is_tried_again_as_often_as_asked() -> None:
    sweep = sweep_of(2, Options(retries=1))
    script = Script([SEGMENTATION, 0, SEGMENTATION, SEGMENTATION])
    whole, view = work_off(sweep, script)
    assert whole and [job.status for job in sweep.jobs] == ["finished", "failed"]
    assert [job.attempts for job in sweep.jobs] == [2, 2]
    assert (
        sweep.jobs[1].error == "killed by SIGSEGV, 2 times"
        and "attempt 2" in view.notes[0]
    )


@pytest.mark.parametrize("code", [worker.FAILED, worker.WRONG_INPUT, worker.OK])
def test_what_fails_is_not_tried_again(code: int) -> None:
    """An exit code of 0 without a result is a failure, too."""
    sweep = sweep_of(2)
    log = sweep.log(sweep.jobs[0])
    log.write_text("first\nthe run failed: ValueError: no\nmore in log.txt\n")
    script = Script([code, 0])
    if code == worker.OK:
        script.start = lambda task: Ended(worker.OK)  # type: ignore[method-assign]
    _, view = work_off(sweep, script)
    assert sweep.jobs[0].status == "failed" and sweep.jobs[0].error == "ValueError: no"
    assert view.notes == []


def test_a_run_of_another_process_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It begins elsewhere between our look and our start: its result becomes ours, and only our
    second start counts."""
    monkeypatch.setattr(scheduler, "BUSY_SECONDS", 0.0)
    sweep = sweep_of(1)
    script = Script([worker.BUSY, worker.BUSY])
    script.waiting = lambda: (
        finish(sweep.jobs[0].folder) if len(script.tasks) == 2 else None
    )
    whole, view = work_off(sweep, script)
    assert whole and sweep.jobs[0].status == "finished" and sweep.jobs[0].attempts == 1
    assert len(view.notes) == 1 and "another process works on" in view.notes[0]


def test_two_jobs_of_one_folder_are_one_run() -> None:
    sweep = sweep_of(2)
    sweep.jobs[1].folder = sweep.jobs[0].folder
    sweep.save_points()
    script = Script([None], slots=2)

    def end() -> None:
        finish(sweep.jobs[0].folder)
        script.handles[0].code = worker.OK

    script.waiting = end
    work_off(sweep, script)
    assert [job.status for job in sweep.jobs] == ["finished", "finished"] and len(
        script.tasks
    ) == 1


def test_threads_are_those_of_the_user_or_the_share_of_the_executor() -> None:
    sweep = sweep_of(2)
    config = json.loads(sweep.configs[1])
    sweep.configs[1] = json.dumps({**config, "run": {**config["run"], "threads": 3}})
    sweep.save_points()
    script = Script([0, 0])
    work_off(sweep, script)
    assert [task.threads for task in script.tasks] == [1, 0]


def test_the_first_signal_asks_and_the_second_kills() -> None:
    sweep = sweep_of(3)
    script = Script([None, None], slots=2)
    script.waiting = lambda: (
        None if script.handles[0].told else signal.raise_signal(signal.SIGINT)
    )
    whole, _ = work_off(sweep, script)
    assert not whole and [handle.told for handle in script.handles] == [
        ["interrupt"],
        ["interrupt"],
    ]
    assert [job.status for job in sweep.jobs] == ["queued"] * 3

    stubborn = Script([None, None], slots=2)
    stubborn.waiting = lambda: signal.raise_signal(signal.SIGINT)
    Ended.interrupt, before = lambda self: None, Ended.interrupt  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            work_off(sweep, stubborn)
    finally:
        Ended.interrupt = before  # type: ignore[method-assign]
    assert [handle.told for handle in stubborn.handles] == [["kill"], ["kill"]]


def test_at_its_time_it_asks_for_checkpoints_and_starts_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = sweep_of(3)
    script = Script([0, None], slots=1)
    clock = [0.0]
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: clock[0])
    script.waiting = lambda: clock.__setitem__(0, clock[0] + 10.0)
    whole = Scheduler(sweep, script, Silent(), until=15.0).run()
    assert not whole and [handle.told for handle in script.handles] == [
        [],
        ["interrupt"],
    ]
    assert [job.status for job in sweep.jobs] == ["finished", "queued", "queued"]
    done = Script([0, 0], slots=2)
    assert Scheduler(sweep, done, Silent(), until=60.0).run()


def test_a_failure_stops_the_others_only_if_asked() -> None:
    for fail_fast, started in ((True, 1), (False, 3)):
        sweep = sweep_of(3, Options(fail_fast=fail_fast))
        script = Script([worker.FAILED] * 3)
        assert work_off(sweep, script)[0]
        assert len(script.tasks) == started


def test_a_folder_that_is_no_run_is_named_and_left_alone() -> None:
    sweep = sweep_of(1)
    sweep.jobs[0].folder.mkdir()
    work_off(sweep, Script([]))
    assert (
        sweep.jobs[0].status == "failed" and "is no run folder" in sweep.jobs[0].error
    )
