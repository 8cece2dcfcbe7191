"""`aihw reproduce`: repeat published figures, and say how close it came."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from engine.settings import user_path

if TYPE_CHECKING:
    from aihw_cli.papers.figures import Chosen
    from aihw_cli.papers.work import Entry
    from engine.experiment.reproduce.judge import Judgement
    from engine.experiment.reproduce.spec import Figure

MANY = 10**9


def reproduce(arguments: Arguments) -> int:
    """Run what is missing, then tell; or only list, report, or print commands."""
    from aihw_cli.papers import work
    from aihw_cli.papers.figures import ALL, select

    names = [w.removesuffix("/") for w in arguments.words if "=" not in w]
    chosen = select(names or [ALL], scaled=arguments.has("--scaled"))
    figures = list({c.figure.name: c.figure for c in chosen}.values())
    extra = [w for w in arguments.words if "=" in w]
    if "--runs" in arguments.options:
        extra.append(f"run.dir={arguments.options['--runs']}")
    work.check_words(extra)
    given = (w.partition("=")[2] for w in reversed(extra) if w.startswith("run.dir="))
    root = user_path(next(given, "runs"))
    if arguments.has("--commands"):
        return _commands(chosen, extra)
    if arguments.has("--report"):
        return _report(figures, root, arguments)
    if arguments.has("--list") or not names:
        return _list(figures, root, arguments)
    code = 0 if arguments.has("--read") else _run(chosen, root, extra, arguments)
    _tell(chosen, root, arguments)
    return code


def _commands(chosen: list[Chosen], extra: list[str]) -> int:
    from aihw_cli.papers.work import commands

    for each in chosen:
        for line in commands(each.figure, scaled=each.scaled, extra=extra):
            say(line)
    return 0


def _run(
    chosen: list[Chosen], root: Path, extra: list[str], arguments: Arguments
) -> int:
    """What is missing of all figures in one pass: first trainings, then evaluations. Returns the
    exit code."""
    from aihw_cli.papers import work
    from aihw_cli.papers.collect import forget
    from aihw_cli.sweeps.drive import INTERRUPTED

    stream = sys.stderr if arguments.has("--json") else sys.stdout
    until = _end(arguments.options)
    kept, failed = work.possible(chosen, extra, lambda line: say(line, stream=stream))
    code = int(failed)
    for find in (work.missing, work.unevaluated):
        entries = find(kept, root, extra)
        if entries and code != INTERRUPTED:
            hours = sum(run.minutes for run, *_ in entries) / 60
            cost = f"; about {hours:.1f} h of one core" if find is work.missing else ""
            say(f"{_titles(entries)}: {len(entries)} runs to do{cost}", stream=stream)
            code = (
                work.work_off(
                    entries, root, options=arguments.options, stream=stream, until=until
                )
                or code
            )
            forget()
    return code


def _titles(entries: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(run.figure for run, *_ in entries))
    return names[0] if len(names) == 1 else f"{len(names)} figures"


def _end(options: Mapping[str, str]) -> float:
    """When the pass must end, on the monotonic clock. Raises UserError."""
    from engine.settings import UserError

    text = options.get("--time-limit", "inf")
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not minutes > 0:
        raise UserError(f"--time-limit takes minutes, not {text!r}")
    return time.monotonic() + 60 * minutes


def _tell(chosen: list[Chosen], root: Path, arguments: Arguments) -> None:
    from aihw_cli.papers import text
    from aihw_cli.papers.collect import judged

    for number, each in enumerate(chosen):
        found = judged(each.figure, root, scaled=each.scaled)
        if arguments.has("--json"):
            say_json(as_data(found))
        else:
            say(("\n" if number else "") + "\n".join(text.lines(found)))


def _list(figures: list[Figure], root: Path, arguments: Arguments) -> int:
    from aihw_cli import table
    from aihw_cli.papers import text
    from aihw_cli.papers.collect import versions
    from aihw_cli.papers.markdown import page

    found = [(figure, versions(figure, root)) for figure in figures]
    if arguments.has("--json"):
        say_json([as_data(j) for _, both in found for j in both])
    elif arguments.has("--markdown"):
        say(page(found), end="")
    else:
        say(table.as_text(text.list_rows(found)))
    return 0


def _report(figures: list[Figure], root: Path, arguments: Arguments) -> int:
    from aihw_cli.papers.report import write_reports

    for path in write_reports(figures, root, Path(arguments.options["--report"])):
        say(path)
    return 0


def as_data(found: Judgement) -> dict[str, object]:
    """A judged figure for programs."""
    from aihw_cli.table import without_gaps

    figure = found.figure
    points = [
        without_gaps({"point": p.point.name, "mean": p.mean, "std": p.std, "values": list(p.values), "wanted": p.wanted,
                      "expected": p.expected, "known": figure.known, "tolerance": p.tolerance, "inside": p.inside,
                      "folders": [str(run.folder) for run in p.runs]})
        for p in found.points
    ]  # fmt: skip
    orders = [{"order": o.text, "holds": o.holds} for o in found.orders]
    names = {
        "figure": figure.name,
        "scaled": found.scaled,
        "metric": figure.metric,
        "grade": figure.grade,
    }
    verdict = {"kind": found.kind, "told": found.told, "notes": list(found.notes)}
    return {**names, **verdict, "points": points, "orders": orders}


COMMANDS = (
    Command(
        "reproduce",
        "repeat the figures of published papers and judge how close they come",
        "aihw reproduce [PAPER[/FIGURE[-scaled]] ...] [dataset.root=FOLDER] [--scaled] [--list] [--report FOLDER]",
        (
            ("aihw reproduce --list", "every figure, its cost, and its last result"),
            (
                "aihw reproduce gokmen2016/fig3a --scaled dataset.root=data",
                "smaller, judged by ordering only",
            ),
            (
                "aihw reproduce wu2024/fig5-fcn --jobs 8 dataset.root=data",
                "in full, eight runs at a time",
            ),
            (
                "aihw reproduce rasch2024 gokmen2016/fig4-scaled --jobs 8",
                "several in one pass, the longest runs first",
            ),
            (
                "aihw reproduce all --scaled --jobs 8",
                "the smaller version of everything",
            ),
            (
                "aihw reproduce wu2024 --read",
                "what is recorded, without running anything",
            ),
            (
                "aihw reproduce wu2024 --report reports",
                "one HTML page for the paper from what is recorded",
            ),
            (
                "aihw reproduce wu2024/fig5-fcn --commands",
                "one aihw train line a run, for a cluster",
            ),
        ),
        reproduce,
        (
            Option(
                "--list", "list the figures with their last results and run nothing"
            ),
            Option("--markdown", "with --list: a page of Markdown with all results"),
            Option(
                "--scaled",
                "the smaller version: fewer epochs or samples, judged by ordering only",
            ),
            Option("--read", "read the recorded runs and run nothing"),
            Option(
                "--report",
                "write one self-contained page for each paper from the recorded runs",
                "FOLDER",
            ),
            Option("--runs", "where the run folders are (default runs)", "FOLDER"),
            Option(
                "--commands", "print one command for each run instead of running it"
            ),
            Option("--jobs", "runs at a time", "N"),
            Option(
                "--time-limit",
                "stop after this time, with checkpoints to go on from",
                "MINUTES",
            ),
            Option("--gpus", "GPUs to deal out, one to a run", "0,1"),
            Option("--json", "the result as one JSON line"),
        ),
        (0, MANY),
    ),
)
