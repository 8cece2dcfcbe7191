"""How a sweep is told to the user: a live table on a terminal, a line for each run in a pipe."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from aihw_cli.effects import equal_results
from aihw_cli.output import block, say
from aihw_cli.report import duration
from aihw_cli.sweeps.manifest import Job, Sweep
from aihw_cli.table import METRIC, metric_of
from engine.readers.json_text import read_json
from engine.settings import UserError
from engine.trust.text import visible

REFRESH_SECONDS = 0.25
SHOWN = 5
ORDER = ("running", "failed", "diverged", "finished", "interrupted", "queued")
COLOURS = {
    "running": "cyan",
    "failed": "red",
    "diverged": "yellow",
    "finished": "green",
    "interrupted": "magenta",
}


class PlainView:
    """A line for each run that ends, and for whatever else a reader must know."""

    def __init__(self, sweep: Sweep, stream: TextIO, todo: int) -> None:
        self.sweep, self.stream, self.total = sweep, stream, todo
        self.count = 0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ended(self, job: Job) -> None:
        self.count += 1
        self.line(f"[{self.count}/{self.total}] {outcome(self.sweep, job)}")

    def note(self, text: str) -> None:
        self.line(text)

    def tick(self, running: Iterable[Job]) -> None:
        pass

    def line(self, text: str) -> None:
        """One line, at once."""
        say(block(text), stream=self.stream)


class LiveView(PlainView):
    """The same lines above a table of all runs, as far as they fit: what runs first, then what went
    wrong."""

    def __init__(self, sweep: Sweep, stream: TextIO, todo: int) -> None:
        super().__init__(sweep, stream, todo)
        from rich.console import Console
        from rich.live import Live

        self.console = Console(file=stream, highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.begun = self.drawn = time.monotonic()
        self.results: dict[str, list[str]] = {}

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def tick(self, running: Iterable[Job]) -> None:
        if time.monotonic() - self.drawn > REFRESH_SECONDS:
            self.live.update(self.table(), refresh=True)
            self.drawn = time.monotonic()

    def line(self, text: str) -> None:
        self.console.print(block(text), markup=False)

    def table(self) -> Any:
        """The runs, and how many there are of each kind."""
        from rich.table import Table
        from rich.text import Text

        jobs = sorted(self.sweep.jobs, key=lambda job: ORDER.index(job.status))
        height = max(5, self.console.height - 8)
        table = Table(
            "run",
            "status",
            "epoch",
            "loss",
            "accuracy",
            "samples/s",
            caption=self.counts(len(jobs) - height),
        )
        for job in jobs[:height]:
            table.add_row(
                Text(visible(self.sweep.name(job))),
                Text(job.status, COLOURS.get(job.status, "")),
                *(Text(visible(cell)) for cell in self.cells(job)),
            )
        return table

    def cells(self, job: Job) -> list[str]:
        """How far a run is, or its result, which is read once."""
        if job.label not in self.results:
            found = progress_cells(self.sweep, job)
            if not job.done:
                return found
            self.results[job.label] = found
        return self.results[job.label]

    def counts(self, hidden: int) -> str:
        """The last line of the table."""
        found = [job.status for job in self.sweep.jobs]
        parts = [
            f"{found.count(status)} {status}" for status in ORDER if status in found
        ]
        if hidden > 0:
            parts.append(f"{hidden} not shown")
        if self.count and (waiting := max(0, self.total - self.count)):
            left = (time.monotonic() - self.begun) / self.count * waiting
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


def make_view(sweep: Sweep, stream: TextIO, todo: int) -> PlainView:
    """A live table of `todo` runs if `stream` is a terminal, else plain lines."""
    if not stream.isatty():
        return PlainView(sweep, stream, todo)
    from rich.console import Console

    kind = PlainView if Console(file=stream).is_dumb_terminal else LiveView
    return kind(sweep, stream, todo)


def progress_cells(sweep: Sweep, job: Job) -> list[str]:
    """Epoch, loss, accuracy and speed of a run, as it told them last."""
    if job.done:
        told = job.summary()
        if METRIC not in told:
            return ["", "", "", ""]
        figures = ((METRIC, ".4f"), ("samples_per_second", ".0f"))
        return [
            str(told.get("epochs", "")),
            "",
            *(_number(told, *figure) for figure in figures),
        ]
    if job.status != "running":
        return ["", "", "", ""]
    try:
        facts = read_json(sweep.progress(job))
    except UserError:
        facts = None
    if not isinstance(facts, dict):
        return ["starting", "", "", ""]
    formats = (("loss", ".4g"), ("accuracy", ".4f"), ("speed", ".0f"))
    rest = [_number(facts, key, shape) for key, shape in formats]
    batch = f", {facts['batch']}/{facts.get('batches')}" if facts.get("batch") else ""
    return [f"{facts.get('epoch', 0)}/{facts.get('epochs', '')}{batch}", *rest]


def _number(values: Mapping[str, Any], key: str, shape: str) -> str:
    """A number as text; nothing where there is none."""
    value = values.get(key)
    return format(value, shape) if isinstance(value, int | float) else ""


def outcome(sweep: Sweep, job: Job) -> str:
    """What became of a run, in a line."""
    name = sweep.name(job)
    if job.done:
        told = job.summary()
        metric = metric_of([told])
        figure = (
            f"{metric.replace('_', ' ')} {_number(told, metric, '.4g') or 'unknown'}"
        )
        took = [duration(told["seconds"])] if told.get("seconds") is not None else []
        return ", ".join([f"{name}: {job.status}", figure, *took, str(job.folder)])
    if job.status == "failed":
        return f"{name}: failed: {reason(sweep, job)}"
    return f"{name}: {job.status}"


def reason(sweep: Sweep, job: Job) -> str:
    """Why a run has no good result, and where more is said."""
    log, error = sweep.log(job), job.error
    if job.done:
        error = str(job.summary().get("reason") or error)
    return " ".join([error, *([f"(log {log})"] if log.exists() else [])]).strip()


def closing_lines(sweep: Sweep) -> list[str]:
    """What went wrong, named, after the table of results."""
    lines = []
    for status, what in (
        ("failed", "failed"),
        (
            "diverged",
            "diverged: their loss is infinite, undefined or far above its start",
        ),
    ):
        jobs = [job for job in sweep.jobs if job.status == status]
        if jobs:
            lines.append(f"{len(jobs)} of {len(sweep.jobs)} runs {what}")
            lines += [f"  {sweep.name(job)}: {reason(sweep, job)}" for job in jobs]
    return [*lines, *_notes(sweep), *_remarks(sweep)]


def _notes(sweep: Sweep) -> list[str]:
    """Runs whose result is suspicious, such as one that learned nothing."""
    noted = {
        sweep.name(job): notes
        for job in sweep.jobs
        if job.status == "finished" and (notes := job.summary().get("notes"))
    }
    if not noted:
        return []
    lines = [f"  {name}: {notes[0]}" for name, notes in noted.items()]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    head = f"{len(noted)} of {len(sweep.jobs)} runs finished with a note"
    return [head, *lines[:SHOWN], *more]


def _remarks(sweep: Sweep) -> Iterator[str]:
    """What a reader of the table must know of keys and programs."""
    points = [{**sweep.points[job.point], "seed": str(job.seed)} for job in sweep.jobs]
    results = [
        job.summary() if job.status == "finished" else None for job in sweep.jobs
    ]
    for key in equal_results(points, results) if not sweep.search else ():
        if key in sweep.points[0]:
            yield f"{key} made no difference: runs that differ in it alone have equal results"
    programs = [
        str((job.record().get("stretches") or [{}])[-1].get("engine", ""))
        for job in sweep.jobs
        if job.done
    ]
    if len(set(programs)) > 1:
        counts = ", ".join(
            str(programs.count(name)) for name in dict.fromkeys(programs)
        )
        yield f"the runs were done by {len(set(programs))} versions of aihw ({counts} runs each)"


def search_lines(sweep: Sweep) -> list[str]:
    """The best trial of a search, with its command."""
    rows = [
        row for row in sweep.rows() if isinstance(row[sweep.search["metric"]], float)
    ]
    if not rows:
        return []
    best, metric = rows[0], sweep.search["metric"]
    values = " ".join(f"{key}={best[key]}" for key in sweep.points[0])
    where = next(
        number for number, point in enumerate(sweep.points) if _holds(best, point)
    )
    tested = [
        job.summary().get(METRIC)
        for job in sweep.jobs
        if job.point == where and job.done
    ]
    known = [value for value in tested if isinstance(value, float)]
    told = (
        f"; its {METRIC} is {statistics.fmean(known):.4g}"
        if known and metric != METRIC
        else ""
    )
    return [f"best: {metric} {best[metric]:.4g} with {values}{told}"]


def _holds(row: Mapping[str, Any], point: Mapping[str, str]) -> bool:
    return all(row[key] == value for key, value in point.items())
