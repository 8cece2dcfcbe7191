"""`aihw runs`: recorded runs listed, shown, compared, ranked and drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from aihw_cli.records.pick import Picked, pick
from engine.settings import UserError

MANY = 10**9
SOME = 20


def runs(arguments: Arguments) -> int:
    """Dispatch to the verb; without one, list."""
    verb, words = "ls", arguments.words
    if words and words[0] in VERBS:
        verb, words = words[0], words[1:]
    if arguments.has("--csv") and arguments.has("--json"):
        raise UserError("--csv and --json exclude each other")
    unused = [name for name in arguments.options if name not in VERBS[verb][1]]
    if unused:
        raise UserError(
            f"aihw runs {verb} does not take {unused[0]}; it takes {', '.join(VERBS[verb][1])}"
        )
    picked = pick(words)
    joins = arguments.has("--group") or arguments.has("--seeds")
    if not picked.runs and (joins or verb != "ls"):
        one = len(picked.damaged) == 1
        many = f"none of the {len(picked.damaged)} runs that are meant can be read"
        raise UserError(str(picked.damaged[0].record["problem"]) if one else many)
    VERBS[verb][0](picked, arguments)
    return 0


def _ls(picked: Picked, arguments: Arguments) -> None:
    from aihw_cli.records import listing

    listing.write(listing.runs(picked, arguments), arguments)


def _best(picked: Picked, arguments: Arguments) -> None:
    from aihw_cli.records import listing

    listing.write(listing.best(picked, arguments), arguments)


def _show(picked: Picked, arguments: Arguments) -> None:
    from aihw_cli.records import detail

    if len(picked.runs) + len(picked.damaged) > SOME:
        raise UserError(
            f"{len(picked.runs)} runs are meant; name one folder, or add conditions"
        )
    if arguments.has("--json"):
        data = [*map(detail.as_data, picked.runs), *map(detail.damage, picked.damaged)]
        say_json(data[0] if len(data) == 1 else data, indent=1)
    else:
        broken = [
            f"{run.folder}\n\n  damaged: {run.record['problem']}"
            for run in picked.damaged
        ]
        say("\n\n".join([*map(detail.show, picked.runs), *broken]))


def _compare(picked: Picked, arguments: Arguments) -> None:
    from aihw_cli.records import detail, listing

    rows = detail.compare(picked.runs)
    if rows and (arguments.has("--json") or arguments.has("--csv")):
        listing.write(rows, arguments)
    else:
        say("[]" if arguments.has("--json") else detail.side_by_side(rows))


def _plot(picked: Picked, arguments: Arguments) -> None:
    from aihw_cli.records import figure, listing, plot

    out, log, width = (
        arguments.options.get("--out"),
        arguments.options.get("--log"),
        figure.WIDTH,
    )
    if out is not None and Path(out).suffix not in figure.FORMATS:
        raise UserError(
            f"--out {out}: the name must end in one of {', '.join(figure.FORMATS)}"
        )
    if log is not None and log not in ("x", "y", "xy", "none"):
        raise UserError(f"--log {log}: there are x, y, xy, none")
    log = "" if log == "none" else log
    if arguments.has("--width"):
        width = _width(arguments.options["--width"])
    found = plot.drawing(picked, arguments)
    texts = [
        arguments.options.get(name, "") for name in ("--xlabel", "--ylabel", "--title")
    ]
    if out is not None:
        figure.save(found, Path(out), log=log, width=width, texts=texts)
    if arguments.has("--json") or arguments.has("--csv"):
        listing.write(found.rows(), arguments)
    else:
        over = f"{found.x} and {found.y}" if found.y else found.x
        say(
            f"{out} shows {found.metric} over {over}"
            if out is not None
            else figure.text(found, log)
        )


def _width(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 1 <= width <= 40:
        raise UserError(
            f"--width {text}: inches between 1 and 40 (a column of a paper has about 3.5)"
        )
    return width


TABLE = ("--metric", "--group", "--seeds", "--limit", "--csv", "--json")
FORM = ("--csv", "--json")
VERBS: dict[str, tuple[Callable[[Picked, Arguments], None], tuple[str, ...]]] = {
    "ls": (_ls, (*TABLE, "--sort", "--columns")),
    "show": (_show, ("--json",)),
    "compare": (_compare, FORM),
    "best": (_best, TABLE),
    "plot": (_plot, ("--metric", "--group", "--x", "--y", "--error", "--log", "--out", "--width", "--xlabel",
                     "--ylabel", "--title", *FORM)),
}  # fmt: skip
COMMANDS = (
    Command(
        "runs",
        "list, compare, rank and draw recorded runs",
        "aihw runs [ls|show|compare|best|plot] [FOLDER ...] [CONDITION ...] [options]",
        (
            ("aihw runs", "all runs below runs/"),
            (
                "aihw runs ls device=ecram 'optimizer.lr>0.01' --sort -test_accuracy",
                "some of them, best first",
            ),
            (
                "aihw runs ls lr=0.01..0.1 --seeds --csv",
                "mean, deviation, confidence interval over the seeds",
            ),
            (
                "aihw runs show runs/digits/0a1b2c3d4e5f-1",
                "one run in full, with its evaluations",
            ),
            (
                "aihw runs compare 0a1b 1b2c",
                "only what differs; a run may be named by the beginning of its id",
            ),
            (
                "aihw runs best runs other/runs --metric test_loss",
                "configurations by the mean over their seeds",
            ),
            ("aihw runs plot status=finished", "learning curves in the terminal"),
            (
                "aihw runs plot --x optimizer.lr --group device --out lr.pdf",
                "a metric over a key, with error bars",
            ),
            (
                "aihw runs plot --x lr --y dw_min --out map.svg",
                "a heat map over two keys",
            ),
        ),
        runs,
        (
            Option("--group", "join the runs that agree in these keys", "KEY,..."),
            Option("--seeds", "join the runs that differ only in their seed"),
            Option("--metric", "the result that is looked at (test_accuracy)", "KEY"),
            Option("--columns", "the columns of the list", "KEY,..."),
            Option("--sort", "sort the list; -KEY sorts falling", "KEY"),
            Option("--limit", "show so many rows; 0 = all", "N"),
            Option("--x", "plot: the key along the horizontal axis", "KEY"),
            Option("--y", "plot: a second key, for a heat map", "KEY"),
            Option(
                "--error", "plot: what error bars show: ci95, std, range, none", "KIND"
            ),
            Option("--log", "plot: logarithmic axes: x, y, xy, none", "AXES"),
            Option("--out", "plot: write an image (png, pdf, svg)", "FILE"),
            Option(
                "--width",
                "plot: width of the image in inches (3.5, a column of a paper)",
                "INCHES",
            ),
            Option("--xlabel", "plot: text at the horizontal axis", "TEXT"),
            Option("--ylabel", "plot: text at the vertical axis", "TEXT"),
            Option("--title", "plot: text above the figure", "TEXT"),
            Option("--csv", "the rows as CSV; for plot, the numbers behind the figure"),
            Option("--json", "the rows as JSON"),
        ),
        (0, MANY),
        "FOLDER holds runs, is a run, or is a sweep; without one: runs. A CONDITION is KEY=VALUE (VALUE: a,b or\n"
        "low..high or text with *), KEY!=VALUE, KEY~TEXT, or in quotes 'KEY>VALUE', 'KEY<=VALUE'. KEY is any key of\n"
        "the configuration or its last part, a result (test_accuracy), or status, name, seed, started, host, commit.\n"
        "device, tile and algorithm stand for the preset that they were made from.",
    ),
)
