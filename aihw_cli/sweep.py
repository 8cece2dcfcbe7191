"""Several runs from one command: the points of a sweep and the seeds of each, one process a run, and their manifest."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from aihw_cli import overrides, table
from aihw_cli.compose import compose
from aihw_cli.report import duration, note
from engine.experiment.files import write_bytes, write_json, writing
from engine.settings import UserError

FORMAT = 1
MANIFEST = "sweep.json"
INTERRUPTED = 130
DONE = ("finished", "diverged")


@dataclass
class Job:
    """One run of a sweep: its point, seed and overrides, and what became of it."""

    point: int
    seed: int
    overrides: list[str]
    status: str = "waiting"
    folder: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sweep:
    """The manifest of a sweep: its points by what they change, and its jobs."""

    folder: Path
    points: list[dict[str, str]]
    jobs: list[Job]
    flags: list[str]

    def save(self) -> None:
        """Write the manifest, whole or not at all."""
        content = {"format": FORMAT, "points": self.points, "flags": self.flags, "jobs": [asdict(j) for j in self.jobs]}
        with writing("the sweep's manifest", self.folder):
            write_json(self.folder / MANIFEST, content)

    def rows(self) -> list[dict[str, Any]]:
        """The table of the points, best first."""
        rows = []
        for number, keys in enumerate(self.points):
            jobs = [j for j in self.jobs if j.point == number]
            rows.append(table.point_row(keys, [j.summary for j in jobs if j.status in DONE], len(jobs)))
        return table.best_first(rows)


def plan(texts: Sequence[str], *, multirun: bool, flags: Sequence[str], again: bool) -> Sweep:
    """The sweep that `texts` describe: every point is composed and checked before anything runs."""
    swept = overrides.swept_keys(texts) if multirun else []
    points = overrides.expand(texts) if multirun else [list(texts)]
    jobs, keys, digest, notes = [], [], hashlib.sha256(), dict[str, None]()
    for number, point in enumerate(points):
        try:
            composed = compose(point, allow_code="--allow-code" in flags)
        except UserError as error:
            raise UserError(f"{error}\nin the point {' '.join(point)}" if multirun else str(error)) from None
        values, notes = composed.values, dict.fromkeys([*notes, *composed.notes])
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
        given = dict(text.split("=", 1) for text in point)
        keys.append({key: given[key] for key in swept} or {"name": values["name"]})
        first = values["run"]["seed"]
        jobs += [Job(number, first + i, [*point, f"run.seed={first + i}", "seeds=1"]) for i in range(values["seeds"])]
    folder = Path(values["run"]["dir"]).expanduser() / values["name"] / f"sweep-{digest.hexdigest()[:12]}"
    sweep = Sweep(_free(folder) if again else folder, keys, jobs, [*flags, *(["--again"] if again else [])])
    for text in notes if multirun else ():
        note(text)
    return load(sweep.folder) if (sweep.folder / MANIFEST).is_file() else sweep


def load(folder: Path) -> Sweep:
    """The sweep of a folder. Raises UserError if its manifest is damaged."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise UserError(f"{folder} was written by a newer version of aihw; update aihw")
        return Sweep(folder, content["points"], [Job(**job) for job in content["jobs"]], content["flags"])
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / MANIFEST} is missing or damaged: {error}") from None


def run(sweep: Sweep, say: Callable[[str], None]) -> int:
    """Run whatever is not done yet; a failed job does not stop the others. Returns the exit code."""
    from filelock import FileLock, Timeout

    with writing("the sweep folder", sweep.folder):
        (sweep.folder / "logs").mkdir(parents=True, exist_ok=True)
        lock = FileLock(sweep.folder / "lock", timeout=0)
    try:
        with lock:
            return _run(sweep, say)
    except Timeout:
        raise UserError(f"{sweep.folder} is in use by another process") from None


def _run(sweep: Sweep, say: Callable[[str], None]) -> int:
    sweep.save()
    open_jobs = [job for job in sweep.jobs if job.status not in DONE]
    say(f"sweep folder {sweep.folder}: {len(sweep.points)} points, {len(open_jobs)} of {len(sweep.jobs)} runs to do")
    try:
        for number, job in enumerate(schedule(open_jobs, lambda job: execute(sweep, job)), 1):
            sweep.save()
            say(f"[{number}/{len(open_jobs)}] {_outcome(sweep, job)}")
    except KeyboardInterrupt:
        sweep.save()
        say(f"interrupted; go on with: aihw resume {sweep.folder}")
        return INTERRUPTED
    with writing("the table", sweep.folder):
        write_bytes(sweep.folder / "table.csv", table.as_csv(sweep.rows()).encode())
    return 0 if all(job.status in DONE for job in sweep.jobs) else 1


def schedule(jobs: Iterable[Job], execute: Callable[[Job], None]) -> Iterator[Job]:
    """Execute the jobs and yield each as it ends. One after another; this is where several at once will come in."""
    for job in jobs:
        execute(job)
        yield job


def execute(sweep: Sweep, job: Job) -> None:
    """Run one job in its own process and note what became of it."""
    begun = job.folder and (Path(job.folder) / "run.json").is_file()
    flags = [flag for flag in sweep.flags if not begun or flag != "--again"]
    words = ["resume", job.folder] if begun else ["train", *job.overrides]
    with log_path(sweep, job).open("w", encoding="utf-8") as log:
        command = [sys.executable, "-m", "aihw_cli", *words, *flags, "--json"]
        code, output = _watch(command, log)
    _note(job, output, {0: "finished", INTERRUPTED: "interrupted"}.get(code, "failed"))
    if code == INTERRUPTED:
        raise KeyboardInterrupt


def _watch(command: list[str], log: TextIO) -> tuple[int, str]:
    """Exit code and standard output of a run. An interrupt is handed on, and the run's checkpoint waited for.

    The run has a session of its own: the terminal would otherwise interrupt it a second time, and the second
    interrupt stops a run at once, without a checkpoint.
    """
    options = {"stdout": subprocess.PIPE, "stderr": log, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **options) as process:  # type: ignore[call-overload]
        interrupted = False
        while True:
            try:
                output, _ = process.communicate()
                return (INTERRUPTED if interrupted else process.returncode), output
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)


def log_path(sweep: Sweep, job: Job) -> Path:
    """Where the lines of a job go."""
    return sweep.folder / "logs" / f"{job.point:03d}-{job.seed}.txt"


def _note(job: Job, output: str, status: str) -> None:
    lines = output.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        told = {}
    job.folder = str(told.pop("folder", job.folder) or "")
    job.status = str(told.get("status", status))
    if job.status in DONE:
        job.summary = told


def _outcome(sweep: Sweep, job: Job) -> str:
    keys = " ".join(f"{k}={v}" for k, v in sweep.points[job.point].items())
    if job.status in DONE:
        accuracy = f"test accuracy {job.summary['test_accuracy']:.4f}"
        return f"{keys} seed {job.seed}: {job.status}, {accuracy}, {duration(job.summary['seconds'])}, {job.folder}"
    path = log_path(sweep, job)
    last = (path.read_text(encoding="utf-8").strip().splitlines() or [""])[-1]
    return f"{keys} seed {job.seed}: {job.status}: {last} (log {path})"


def _free(folder: Path) -> Path:
    number, free = 2, folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free
