"""The folder of a sweep: its points, its runs, and what became of them.

The run folders stay the truth.

sweep.json    points by what they change; runs with folder, status, attempts; runs at once
points.jsonl  the resolved configuration of each point
logs/         what each run said
progress/     where each run is
table.csv     a row for each point, best first
runs.csv      a row for each run
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aihw_cli import table
from aihw_cli.sweeps.stored import ANEW, MANIFEST, POINTS, Manifest, read_points
from engine.experiment.files import write_json, writing
from engine.experiment.runs import DONE, offline, read_record, read_summary, run_status
from engine.settings import UserError
from engine.trust.files import check_no_link, make_folder, write_bytes

FORMAT = 2
RUN_COLUMNS = (
    "status", "test_accuracy", "best_test_accuracy", "test_loss", "valid_accuracy", "valid_loss", "epochs", "seconds",
    "attempts", "folder", "error",
)  # fmt: skip


@dataclass
class Job:
    """One run of a sweep: its point, seed and folder, and what became of it.

    status: queued, running, interrupted, failed, finished, diverged.
    """

    point: int
    seed: int
    folder: Path
    status: str = "queued"
    attempts: int = 0
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return self.status in DONE

    @property
    def label(self) -> str:
        """A short name, unique in the sweep."""
        return f"{self.point:03d}-{self.seed}"

    def look(self) -> str:
        """The status as the run folder tells it; `queued` without a folder. Raises UserError for a
        run that says it is done and has no result."""
        found = run_status(self.folder)
        if found in DONE:
            self.summary()
        return "queued" if found == "absent" else found

    def summary(self) -> dict[str, Any]:
        """The result of a run that is done."""
        return read_summary(self.folder)

    def record(self) -> dict[str, Any]:
        """What the run folder says of the run."""
        return read_record(self.folder)


@dataclass(frozen=True)
class Options:
    """How the runs of a sweep are worked off."""

    jobs: int = 0
    gpus: tuple[str, ...] = ()
    retries: int = 2
    fail_fast: bool = False


@dataclass
class Sweep:
    """The manifest. `points` holds what each point changes, `configs` its whole configuration as
    JSON."""

    folder: Path
    points: list[dict[str, str]]
    configs: list[str]
    jobs: list[Job]
    options: Options = Options()
    words: list[str] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Whether runs of another program may go on; permission for one command, so that it is not kept.
    changed_program: bool = False

    def config(self, job: Job) -> dict[str, Any]:
        """The configuration of a run."""
        values: dict[str, Any] = offline(json.loads(self.configs[job.point]))
        values["run"]["seed"], values["seeds"] = job.seed, 1
        return values

    def name(self, job: Job) -> str:
        """What tells a run from the others, for the reader."""
        return " ".join(
            [
                *(f"{k}={v}" for k, v in self.points[job.point].items()),
                f"seed {job.seed}",
            ]
        )

    def log(self, job: Job) -> Path:
        """Where the lines of a run go."""
        return self.folder / "logs" / f"{job.label}.txt"

    def progress(self, job: Job) -> Path:
        """Where a run tells how far it is."""
        return self.folder / "progress" / f"{job.label}.json"

    def save(self) -> None:
        """Write the manifest, whole or not at all."""
        content = {
            "format": FORMAT,
            "words": self.words,
            "options": vars(self.options),
            "search": self.search,
            "points": self.points,
            "jobs": [
                {**vars(job), "folder": os.path.relpath(job.folder, self.folder)}
                for job in self.jobs
            ],
        }
        with writing("the sweep's manifest", self.folder):
            write_json(self.folder / MANIFEST, content)

    def save_points(self) -> None:
        """Write the configurations; the manifest that names their points must follow."""
        with writing("the sweep's points", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("logs", "progress"):
                make_folder(self.folder / name)
            write_bytes(
                self.folder / POINTS,
                "".join(f"{line}\n" for line in self.configs).encode(),
            )

    def save_tables(self) -> None:
        """Write table.csv and runs.csv, once there is a point."""
        if not self.points:
            return
        with writing("the table", self.folder):
            write_bytes(self.folder / "table.csv", table.as_csv(self.rows()).encode())
            write_bytes(self.folder / "runs.csv", self.runs().encode())

    def metric(self) -> str:
        """The figure by which points are ranked."""
        summaries = [job.summary() for job in self.jobs if job.done]
        return str(self.search.get("metric") or table.metric_of(summaries))

    def rows(self) -> list[dict[str, Any]]:
        """The table of the points, best first."""
        found: list[list[dict[str, Any]]] = [[] for _ in self.points]
        wanted = [0] * len(self.points)
        for job in self.jobs:
            wanted[job.point] += 1
            found[job.point] += [job.summary()] if job.done else []
        metric = self.metric()
        rows = [
            table.point_row(*parts, metric)
            for parts in zip(self.points, found, wanted, strict=True)
        ]
        return table.best_first(
            rows, metric, smaller=self.search.get("direction") == "minimize"
        )

    def runs(self) -> str:
        """The table of the runs as CSV, in their order."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.points[0], "seed", *RUN_COLUMNS])
        for job in self.jobs:
            own = {
                "status": job.status,
                "attempts": job.attempts,
                "folder": job.folder,
                "error": job.error,
            }
            values: Mapping[str, Any] = {**(job.summary() if job.done else {}), **own}
            writer.writerow(
                [
                    *self.points[job.point].values(),
                    job.seed,
                    *(values.get(key, "") for key in RUN_COLUMNS),
                ]
            )
        return text.getvalue()


def load(folder: Path) -> Sweep:
    """The sweep of a folder. Raises UserError if its manifest is damaged or of another version."""
    stored = Manifest(folder / MANIFEST, FORMAT)
    content = stored.content
    configs = read_points(folder / POINTS, len(content["points"]))
    sweep = Sweep(
        folder, content["points"], configs, list(_jobs(folder, content["jobs"]))
    )
    sweep.options = Options(
        **{**content["options"], "gpus": tuple(content["options"]["gpus"])}
    )
    sweep.words, sweep.search = content["words"], content["search"]
    return sweep


def _jobs(folder: Path, stored: Sequence[Mapping[str, Any]]) -> Iterator[Job]:
    """Runs as they were noted; what was running or queued then, or has lost its result, is looked
    up in its folder when its turn comes."""
    for values in stored:
        fresh = {
            "folder": run_beside(folder, values["folder"]),
            "attempts": 0,
            "error": "",
        }
        job = Job(**{**values, **fresh})
        if not job.done or not _has_result(job):
            job.status = "queued"
        yield job


def _has_result(job: Job) -> bool:
    try:
        job.summary()
    except UserError:
        return False
    return True


def run_beside(folder: Path, relative: str) -> Path:
    """The folder of a run, below the one that holds the sweep. A manifest may be a stranger's, and
    runs are written where it says: so neither `..` nor a link leads elsewhere."""
    sweep = Path(os.path.abspath(folder))
    home, run = sweep.parent, Path(os.path.normpath(sweep / relative))
    inner = run.relative_to(home).parts if run.is_relative_to(home) else ()
    if not inner or run.is_relative_to(sweep):
        raise UserError(
            f"{folder / MANIFEST} names a run elsewhere ({relative}); {ANEW}"
        )
    try:
        check_no_link(*(home.joinpath(*inner[: n + 1]) for n in range(len(inner))))
    except OSError as problem:
        raise UserError(f"{problem.filename}: {problem.strerror}") from None
    return Path(os.path.normpath(folder.joinpath("..", *inner)))
