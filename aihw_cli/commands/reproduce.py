"""`aihw reproduce`: repeat published figures, and say how close it came."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aihw_cli.arguments import Arguments, Command, Option

if TYPE_CHECKING:
    from engine.experiment.reproduce.judge import Judgement
    from engine.experiment.reproduce.spec import Figure

MANY = 10**9


def reproduce(arguments: Arguments) -> int:
    """Run what is missing, then tell; or only list, report, or print commands."""
    from aihw_cli.papers import work
    from aihw_cli.papers.figures import select

    wanted = next((w for w in arguments.words if "=" not in w), "").removesuffix("/")
    names = [w for w in arguments.words if "=" not in w]
    if len(names) > 1:
        from engine.settings import UserError

        raise UserError(f"one paper or figure at a time, not {', '.join(names)}")
    figures = select(wanted)
    extra = [w for w in arguments.words if "=" in w]
    if "--runs" in arguments.options:
        extra.append(f"run.dir={arguments.options['--runs']}")
    work.check_words(extra)
    root = Path(next((w.partition("=")[2] for w in reversed(extra) if w.startswith("run.dir=")), "runs")).expanduser()
    if arguments.has("--commands"):
        return _commands(figures, extra, arguments)
    if arguments.has("--report"):
        return _report(figures, root, arguments)
    if arguments.has("--list") or not wanted:
        return _list(figures, root, arguments)
    codes = [_one(figure, root, extra, arguments) for figure in figures]
    return next((code for code in codes if code), 0)


def _commands(figures: list[Figure], extra: list[str], arguments: Arguments) -> int:
    from aihw_cli.papers.work import commands

    for figure in figures:
        if figure.scaled or not arguments.has("--scaled"):
            for line in commands(figure, scaled=arguments.has("--scaled"), extra=extra):
                print(line)
    return 0


def _one(figure: Figure, root: Path, extra: list[str], arguments: Arguments) -> int:
    from aihw_cli.papers import text, work
    from aihw_cli.papers.collect import forget, judged
    from engine.experiment.runs import folder_name

    scaled, as_json = arguments.has("--scaled"), arguments.has("--json")
    code = 0
    if not arguments.has("--read"):
        todo = work.missing(figure, root, scaled=scaled, extra=extra)
        stream = sys.stderr if as_json else sys.stdout
        if todo:
            whole = text.cost(figure, scaled=scaled)
            print(f"{figure.name}: {len(todo)} runs to do; all takes {whole} of one core", file=stream, flush=True)
            code = work.train(todo, options=arguments.options, stream=stream)
            forget()
        entries = work.unevaluated(figure, root, scaled=scaled, extra=extra) if figure.evaluate and not code else []
        if entries:
            place = root / folder_name(figure.name)
            code = work.evaluate(entries, place, options=arguments.options, stream=stream)
            forget()
    found = judged(figure, root, scaled=scaled)
    print(json.dumps(as_data(found)) if as_json else "\n".join(text.lines(found)))
    return code


def _list(figures: list[Figure], root: Path, arguments: Arguments) -> int:
    from aihw_cli import table
    from aihw_cli.papers import text
    from aihw_cli.papers.collect import versions
    from aihw_cli.papers.markdown import page

    found = [(figure, versions(figure, root)) for figure in figures]
    if arguments.has("--json"):
        print(json.dumps([as_data(j) for _, both in found for j in both]))
    elif arguments.has("--markdown"):
        print(page(found), end="")
    else:
        print(table.as_text(text.list_rows(found)))
    return 0


def _report(figures: list[Figure], root: Path, arguments: Arguments) -> int:
    from aihw_cli.papers.report import write_reports

    for path in write_reports(figures, root, Path(arguments.options["--report"])):
        print(path)
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
    names = {"figure": figure.name, "scaled": found.scaled, "metric": figure.metric, "grade": figure.grade}
    verdict = {"kind": found.kind, "told": found.told, "notes": list(found.notes)}
    return {**names, **verdict, "points": points, "orders": orders}


COMMANDS = (
    Command(
        "reproduce",
        "repeat the figures of published papers and judge how close they come",
        "aihw reproduce [PAPER[/FIGURE]] [dataset.root=FOLDER] [--scaled] [--list] [--report FOLDER]",
        (
            ("aihw reproduce --list", "every figure, its cost, and its last result"),
            ("aihw reproduce gokmen2016/fig3a --scaled dataset.root=data", "smaller, judged by ordering only"),
            ("aihw reproduce wu2024/fig5-fcn --jobs 8 dataset.root=data", "in full, eight runs at a time"),
            ("aihw reproduce wu2024 --read", "what is recorded, without running anything"),
            ("aihw reproduce wu2024 --report reports", "one HTML page for the paper from what is recorded"),
            ("aihw reproduce wu2024/fig5-fcn --commands", "one aihw train line a run, for a cluster"),
        ),
        reproduce,
        (
            Option("--list", "list the figures with their last results and run nothing"),
            Option("--markdown", "with --list: a page of Markdown with all results"),
            Option("--scaled", "the smaller version: fewer epochs or samples, judged by ordering only"),
            Option("--read", "read the recorded runs and run nothing"),
            Option("--report", "write one self-contained page for each paper from the recorded runs", "FOLDER"),
            Option("--runs", "where the run folders are (default runs)", "FOLDER"),
            Option("--commands", "print one command for each run instead of running it"),
            Option("--jobs", "runs at a time", "N"),
            Option("--gpus", "GPUs to deal out, one to a run", "0,1"),
            Option("--json", "the result as one JSON line"),
        ),
        (0, MANY),
    ),
)
