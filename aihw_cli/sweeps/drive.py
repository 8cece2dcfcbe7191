"""From a planned sweep to an exit code: the folder locked, its runs worked off, tables written,
failures named."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from aihw_cli import table
from aihw_cli.arguments import Arguments
from aihw_cli.output import say, say_json
from aihw_cli.sweeps.evaluations import save_course
from aihw_cli.sweeps.executors import make_executor
from aihw_cli.sweeps.manifest import Job, Options, Sweep, load
from aihw_cli.sweeps.scheduler import Scheduler
from aihw_cli.sweeps.stored import has_manifest
from aihw_cli.sweeps.view import closing_lines, make_view
from engine.experiment.files import writing
from engine.settings import UserError
from engine.trust.files import Held, lock, read_text, write_bytes
from engine.trust.text import visible

OK, FAILED, INTERRUPTED = 0, 1, 130


def read_options(given: Mapping[str, str], before: Options | None = None) -> Options:
    """Options of the command line over those of the manifest. Raises UserError."""
    before = before or Options()
    jobs = count("--jobs", given["--jobs"]) if "--jobs" in given else before.jobs
    retries = (
        count("--retries", given["--retries"])
        if "--retries" in given
        else before.retries
    )
    gpus = tuple(
        part.strip() for part in given.get("--gpus", "").split(",") if part.strip()
    )
    if "--gpus" in given and (not gpus or len(set(gpus)) < len(gpus)):
        raise UserError(
            f"--gpus takes different numbers separated by commas, such as 0,1, not {given['--gpus']!r}"
        )
    if "--jobs" in given and not jobs:
        raise UserError("--jobs must be at least 1")
    return Options(jobs, gpus or before.gpus, retries, "--fail-fast" in given)


def count(key: str, text: str) -> int:
    """The whole number that an option was given. Raises UserError."""
    if not text.isdigit():
        raise UserError(f"{key} takes a whole number, not {text!r}")
    return int(text)


class Source(Protocol):
    """Adds runs to a sweep while it is worked off, and learns from those that ended."""

    base: dict[str, Any]

    def missing(self) -> int: ...

    def feed(self) -> list[Job]: ...

    def ended(self, job: Job) -> None: ...


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder of a sweep for this process alone. Raises UserError that names who has it."""
    holder = folder / "holder.txt"
    try:
        with writing("the sweep folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
            held = lock(folder / "lock")
    except Held:
        raise UserError(
            f"{folder} is in use by {_read(holder)}; `aihw resume {folder}` when it has ended"
        ) from None
    with held:
        with writing("the sweep folder", folder):
            write_bytes(
                holder, f"process {os.getpid()} on {platform.node()}\n".encode()
            )
        yield


def _read(holder: Path) -> str:
    """Who works in a folder, as it says itself."""
    try:
        return visible(read_text(holder).strip())
    except (OSError, ValueError):
        return "another process"


def carry_out(planned: Sweep, arguments: Arguments) -> int:
    """Do what is missing of a sweep, or of the one that is in its folder already. Returns the exit
    code."""
    as_json = arguments.has("--json")
    with locked(planned.folder):
        sweep = load(planned.folder) if has_manifest(planned.folder) else planned
        sweep.options = read_options(arguments.options, sweep.options)
        sweep.changed_program = arguments.has("--changed-program")
        flags = " --allow-code" if arguments.has("--allow-code") else ""
        code = work_off(sweep, sys.stderr if as_json else sys.stdout, flags=flags)
    tell(sweep, code, as_json=as_json)
    return code


def work_off(
    sweep: Sweep,
    stream: TextIO,
    *,
    flags: str = "",
    source: Source | None = None,
    until: float = math.inf,
) -> int:
    """Do what is missing of a sweep in a locked folder, and what `source` adds to it. Returns the
    exit code.

    At `until` of the monotonic clock the runs are interrupted.
    """
    more = source.missing() if source else 0
    todo = len([job for job in sweep.jobs if not job.done]) + more
    runs = f"{len(sweep.points)} points, {todo} of {len(sweep.jobs) + more} runs to do"
    say(f"sweep folder {sweep.folder}: {runs}", stream=stream)
    sweep.save_points()
    sweep.save()
    if todo:
        config = (
            json.loads(sweep.configs[0])
            if sweep.configs
            else source.base
            if source
            else {}
        )
        executor = make_executor(config["run"], sweep.options, sweep.folder)
        with make_view(sweep, stream, todo) as view:
            scheduler = Scheduler(sweep, executor, view, until)
            if source:
                scheduler.feed, scheduler.ended = source.feed, source.ended
            whole = scheduler.run()
        if not whole:
            sweep.save_tables()
            say(
                f"interrupted; go on with: aihw resume {sweep.folder}{flags}",
                stream=stream,
            )
            return INTERRUPTED
    sweep.save_tables()
    return OK if all(job.done for job in sweep.jobs) else FAILED


def tell(sweep: Sweep, code: int, *, as_json: bool) -> None:
    """The results, and what went wrong."""
    rows, stream = sweep.rows(), sys.stderr if as_json else sys.stdout
    if code != INTERRUPTED:
        if rows and not as_json:
            say(table.chosen_on(sweep.metric()), stream=stream)
            say(table.as_text(rows), stream=stream)
            say(f"table {sweep.folder / 'table.csv'}", stream=stream)
        for line in save_course(sweep):
            say(line, stream=stream)
        for line in closing_lines(sweep):
            say(line, stream=stream)
    if as_json:
        failed = [
            {"run": sweep.name(job), "log": str(sweep.log(job))}
            for job in sweep.jobs
            if job.status == "failed"
        ]
        points = [table.without_gaps(row) for row in rows]
        say_json({"folder": str(sweep.folder), "points": points, "failed": failed})
