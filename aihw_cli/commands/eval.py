"""`aihw eval`: a trained network on programmed devices, over time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.commands.train import SCHEDULE, refuse_sweep_options
from aihw_cli.output import say
from aihw_cli.report import PlainReporter, note
from engine.settings import UserError, user_path
from engine.trust.code import check_code_in
from engine.trust.text import visible

MANY = 10**9
FILES = (".safetensors", ".pt", ".pth", ".th", ".bin")


def evaluate(arguments: Arguments) -> int:
    """Compose, program, test at each time, and show the table."""
    from aihw_cli.commands.train import guarded
    from engine.experiment.runs import DONE, read_summary, run_status

    target = user_path(arguments.words[0])
    if arguments.has("--multirun"):
        return _sweep(target, arguments)
    refuse_sweep_options(arguments, "one evaluation, no sweep: add -m")
    config = _configuration(target, arguments)
    folder = _folder(target, config, again=arguments.has("--again"))
    existed = run_status(folder) in DONE

    def work(reporter: PlainReporter) -> dict[str, Any]:
        from engine.experiment.train import train

        return train(config, folder, reporter)

    code = guarded(work, folder, arguments)
    if code == 0 and not arguments.has("--json"):
        summary = read_summary(folder)
        _show(summary)
        say(f"table {folder / 'accuracy.csv'}\nplot  {folder / 'accuracy.png'}")
        if existed:
            note("this evaluation was there already; --again makes a new one")
    return code


def _sweep(target: Path, arguments: Arguments) -> int:
    """Evaluate with each combination of the given values, in processes of their own."""
    from aihw_cli.sweeps import drive
    from aihw_cli.sweeps.evaluations import plan_evaluations

    drive.read_options(arguments.options)
    _check_target(target, arguments)
    planned = plan_evaluations(
        target,
        arguments.words[1:],
        allow_code=arguments.has("--allow-code"),
        again=arguments.has("--again"),
    )
    for text in planned.notes:
        note(text)
    return drive.carry_out(planned, arguments)


def _configuration(target: Path, arguments: Arguments) -> dict[str, Any]:
    from aihw_cli import evaluation
    from aihw_cli.effects import refuse_without_effect

    texts, allow = arguments.words[1:], arguments.has("--allow-code")
    _check_target(target, arguments)
    read = evaluation.of_run if target.is_dir() else evaluation.of_file
    composed = read(target, texts, allow_code=allow)
    for text in (*composed.notes, *refuse_without_effect(texts, [composed.values])):
        note(text)
    return composed.values


def _check_target(target: Path, arguments: Arguments) -> None:
    """Refuse what is neither a run nor a file of weights; say so if a run has not ended well.
    Raises UserError."""
    from engine.experiment.runs import DONE, read_config, read_record, run_status

    if "=" in arguments.words[0] and not target.exists():
        raise UserError(
            f"the run folder, or the file of weights, comes first; usage: {COMMANDS[0].usage}"
        )
    if target.suffix in FILES and not target.is_dir():
        if not target.is_file():
            raise UserError(f"there is no file {target}")
        return
    if target.is_file():
        known = ", ".join(FILES)
        raise UserError(
            f"{target} is neither a run folder nor a file of weights ({known})"
        )
    read_record(target)
    check_code_in(read_config(target), target)
    status = run_status(target)
    if status not in DONE:
        note(f"{target} is {status}: its last checkpoint is evaluated")
    elif status == "diverged":
        note(f"the training in {target} diverged: its network has learned nothing")


def _folder(target: Path, config: Mapping[str, Any], *, again: bool) -> Path:
    """Below the run that is evaluated; for a file of weights, a run folder of its own."""
    from aihw_cli.sweeps.evaluations import in_its_folder
    from engine.experiment.runs import run_folder

    return run_folder(in_its_folder(target, config), again=again)


def table(points: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A row for each time: mean and standard deviation with and without compensation."""
    rows: dict[float, dict[str, str]] = {}
    for point in points:
        row = rows.setdefault(point["time"], {"after": point["after"]})
        way = (
            "no compensation"
            if point["compensation"] == "none"
            else f"{point['compensation']} compensation"
        )
        row[way.replace("_", " ")] = f"{point['mean']:.4f} +- {point['std']:.4f}"
    return list(rows.values())


def _show(summary: Mapping[str, Any]) -> None:
    """The result as a table with lines on a terminal, as aligned columns elsewhere."""
    rows = table(summary["points"])
    repeats = summary["points"][0]["repeats"]
    title = f"test accuracy, mean and standard deviation of {repeats} programmings"
    if not sys.stdout.isatty():
        from aihw_cli.table import as_text

        say(
            f"{title}\n{as_text(rows)}\n{summary['reference']} {summary['reference_accuracy']:.4f}"
        )
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    caption = f"{summary['reference']} {summary['reference_accuracy']:.4f}"
    drawn = Table(title=title, caption=Text(visible(caption)))
    for name in rows[0]:
        drawn.add_column(Text(visible(name)))
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row.values()))
    Console().print(drawn)


COMMANDS = (
    Command(
        "eval",
        "program trained weights on noisy devices, let them drift, test at each time",
        "aihw eval RUN_DIR|WEIGHTS_FILE [key=value ...] [-m [--jobs N] [--gpus 0,1]] [--again] [--allow-code] [--json]",
        (
            (
                "aihw eval runs/digits/0a1b2c3d4e5f-1",
                "phase-change memory after 1 s, 1 h, 1 day and 1 year",
            ),
            (
                "aihw eval RUN_DIR inference.times=[1s,1h,30d] inference.repeats=25",
                "other times, more programmings",
            ),
            (
                "aihw eval RUN_DIR inference=pcm inference.compensation=per_column",
                "another compensation",
            ),
            (
                "aihw eval RUN_DIR 'layers={fc2:{algorithm:digital}}'",
                "one layer stays in floating point",
            ),
            (
                "aihw eval RUN_DIR -m tile.forward.inp_res=0.01,0.1 inference=pcm,reram_wan2022",
                "a sweep: each combination, with a table and a plot",
            ),
            (
                "aihw eval lenet.safetensors model=lenet dataset=mnist dataset.root=data",
                "weights from elsewhere",
            ),
        ),
        evaluate,
        (
            Option(
                "--multirun",
                "a, b and range(), choice(), glob() make a sweep, one process an evaluation",
                short="-m",
            ),
            *SCHEDULE,
            Option(
                "--again", "repeat an evaluation that is there already, in a new folder"
            ),
            Option("--allow-code", "allow a device file of your own to run"),
            Option(
                "--json",
                "the result as one JSON line on stdout; progress goes to stderr",
            ),
        ),
        (1, MANY),
        "The result lies in RUN_DIR/eval: accuracy.csv, accuracy.png, and every programming in metrics.csv. A network\n"
        "of a hardware-aware run is programmed as it is; any other is mapped to tiles directly, each column scaled to\n"
        "the range of the cells. `aihw ls inference` lists what can be programmed, `aihw show pcm` explains it.",
    ),
)
