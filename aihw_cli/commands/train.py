"""`aihw train` and `aihw resume`."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import reason, say, say_json
from aihw_cli.report import PlainReporter, make_reporter, note
from engine.settings import UserError, user_path
from engine.trust.code import check_code_in

if TYPE_CHECKING:
    from aihw_cli.sweeps.manifest import Sweep

FAILED, INTERRUPTED = 1, 130
MANY = 10**9


def train(arguments: Arguments) -> int:
    """Compose, then train once, or once for each point and seed."""
    from aihw_cli.compose import compose
    from aihw_cli.effects import refuse_without_effect
    from aihw_cli.sweeps import drive
    from aihw_cli.sweeps.plan import plan

    multirun = arguments.has("--multirun")
    if not multirun:
        composed = compose(arguments.words, allow_code=arguments.has(CODE.name))
        for text in composed.notes:
            note(text)
        for text in refuse_without_effect(arguments.words, [composed.values]):
            note(text)
        if (
            composed.values["seeds"] == 1
            and composed.values["run"]["executor"] == "local"
        ):
            refuse_sweep_options(arguments, "one run, no sweep: add -m or seeds=N")
            return _train_once(composed.values, arguments)
    drive.read_options(arguments.options)
    planned = plan(
        arguments.words,
        multirun=multirun,
        allow_code=arguments.has(CODE.name),
        again=arguments.has("--again"),
    )
    for text in planned.notes if multirun else ():
        note(text)
    return drive.carry_out(planned, arguments)


def resume(arguments: Arguments) -> int:
    """Go on with a run, a sweep or a search."""
    from aihw_cli.sweeps.manifest import load
    from aihw_cli.sweeps.stored import is_sweep
    from engine.experiment.runs import config_to_resume, read_record

    folder = user_path(arguments.words[0])
    if is_sweep(folder):
        if len(arguments.words) > 1:
            raise UserError(
                f"{arguments.words[1]}: the settings of a sweep are those that it was started with"
            )
        return _resume_sweep(load(folder), arguments)
    refuse_sweep_options(arguments, f"{folder} is no sweep")
    config = None
    if (folder / "config.yaml").is_file():
        from aihw_cli.check import check_stored

        read_record(folder)
        recorded = config_to_resume(folder)
        check_code_in(recorded, folder)
        check_stored(folder, recorded, allow_code=arguments.has(CODE.name))
        config = with_free_changes(recorded, arguments.words[1:])

    def work(reporter: PlainReporter) -> dict[str, Any]:
        from engine.experiment.train import resume as engine_resume

        allowed = arguments.has(CHANGED.name)
        return engine_resume(folder, reporter, config=config, changed_program=allowed)

    return guarded(work, folder, arguments)


def _resume_sweep(sweep: Sweep, arguments: Arguments) -> int:
    from aihw_cli.sweeps import drive
    from aihw_cli.sweeps.cluster import check_cluster

    for text in sweep.configs:
        config = json.loads(text)
        check_code_in(config, sweep.folder)
        check_cluster(config["run"], lambda _: f" ({sweep.folder})")
    if sweep.search:
        from aihw_cli.sweeps.search import go_on

        return go_on(sweep, arguments)
    if arguments.has("--trials"):
        raise UserError(f"--trials is for a search; {sweep.folder} is a sweep")
    return drive.carry_out(sweep, arguments)


def with_free_changes(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A recorded configuration with changes of what decides no result. Raises UserError for any
    other."""
    from aihw_cli import overrides
    from aihw_cli.schema import Field, dataclass_section
    from engine.experiment.config import SECTIONS
    from engine.experiment.lifecycle.resuming import free_keys
    from engine.presets import nearest

    free = free_keys()
    for change in overrides.read(words):
        if change.key not in free:
            raise UserError(
                f"{change.text!r}: a run goes on as it began, but for what decides no result; "
                f"{nearest(change.key, free)}"
            )
        section, _, key = change.key.partition(".")
        entry = dataclass_section(SECTIONS[section])[key]
        assert isinstance(entry, Field)
        try:
            value = entry.read(change.key, change.value)
        except ValueError as problem:
            raise UserError(f"{problem} (command line)") from None
        config = {**config, section: {**config[section], key: value}}
    return config


def refuse_sweep_options(arguments: Arguments, why: str) -> None:
    """Refuse options of a sweep where there is none. Raises UserError."""
    for option in (*SCHEDULE, TRIALS):
        if arguments.has(option.name):
            raise UserError(f"{option.name}: {why}")


def _train_once(config: dict[str, Any], arguments: Arguments) -> int:
    from engine.experiment.custom.check import check_network
    from engine.experiment.runs import DONE, run_folder, run_status
    from engine.experiment.writers import require

    require(config)
    check_network(config)
    folder = run_folder(config, again=arguments.has("--again"))
    existed = run_status(folder) in DONE

    def work(reporter: PlainReporter) -> dict[str, Any]:
        from engine.experiment.train import train as engine_train

        return engine_train(config, folder, reporter, command=arguments.words)

    code = guarded(work, folder, arguments)
    if existed and code == 0 and not arguments.has("--json"):
        note("this run was there already; --again makes a new one")
    return code


def guarded(
    work: Callable[[PlainReporter], dict[str, Any]], folder: Path, arguments: Arguments
) -> int:
    """Run `work`, report on it, and turn its end into an exit code."""
    as_json = arguments.has("--json")
    code, result, last = 0, {"status": "interrupted"}, ""
    with make_reporter(sys.stderr if as_json else sys.stdout) as reporter:
        try:
            result = work(reporter)
            if result["status"] == "diverged":
                code, last = FAILED, _divergence(result, folder)
        except UserError:
            raise
        except KeyboardInterrupt:
            code, last = INTERRUPTED, _how_to_go_on(folder, arguments)
        except Exception as error:
            code, result, last = FAILED, {"status": "failed"}, _failure(error, folder)
    if last:
        say(last, stream=sys.stderr)
    if as_json:
        say_json({"folder": str(folder), **result})
    return code


def _how_to_go_on(folder: Path, arguments: Arguments) -> str:
    if not (folder / "run.json").is_file():
        return "interrupted before the run began; nothing was written"
    flag = " --allow-code" if arguments.has("--allow-code") else ""
    return f"interrupted; go on with: aihw resume {folder}{flag}"


def _divergence(summary: Mapping[str, Any], folder: Path) -> str:
    """Why a run has no result, and what to do: its note says how."""
    reason = summary.get("reason") or "loss is NaN or infinite"
    advice = "" if "task" in summary else ": lower optimizer.lr"
    return f"training diverged ({reason}){advice} ({folder})"


def _failure(error: Exception, folder: Path) -> str:
    message = reason(error)
    if (folder / "log.txt").is_file():
        message = (
            message or f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        )
        return f"the run failed: {message}\nmore in {folder / 'log.txt'}"
    if message:
        return f"the run failed: {message}"
    return "".join(traceback.format_exception(error)) + "the run failed"


CODE = Option(
    "--allow-code",
    "allow Python files of your own to run (device=my.py:Cell, model=my.py:Net)",
)
JSON = Option(
    "--json", "the result as one JSON line on stdout; progress goes to stderr"
)
SCHEDULE = (
    Option(
        "--jobs",
        "runs at a time, each in its own process (default 1, or one a GPU)",
        "N",
    ),
    Option("--gpus", "GPUs to deal out, one to a run", "0,1"),
    Option(
        "--retries", "how often a run that was killed is tried again (default 2)", "N"
    ),
    Option("--fail-fast", "stop the other runs when one has failed"),
)
CHANGED = Option(
    "--changed-program",
    "go on with runs that another version of aihw or torch began; it is recorded",
)
TRIALS = Option("--trials", "trials of a search in all (default 20)", "N")
COMMANDS = (
    Command(
        "train",
        "train a network from a recipe",
        "aihw train [conf=NAME|FILE.yaml] [key=value ...] [-m [--jobs N] [--gpus 0,1]] [--again] [--json]",
        (
            ("aihw train", "the digits that come with scikit-learn"),
            (
                "aihw train device=ecram optimizer.lr=0.05 run.epochs=3",
                "another device and other values",
            ),
            (
                "aihw train conf=mnist_fcn dataset.root=data dataset.download=true",
                "another recipe",
            ),
            ("aihw train conf=my.yaml", "a recipe of your own"),
            (
                "aihw train -m device=ecram,capacitor optimizer.lr=0.1,0.2 --jobs 2",
                "a sweep, two points at a time",
            ),
            (
                "aihw train algorithm=digital seeds=5",
                "the floating-point baseline, mean of five seeds",
            ),
            (
                "aihw train 'layers={fc2:{algorithm:digital}}'",
                "one layer in floating point",
            ),
        ),
        train,
        (
            Option(
                "--multirun",
                "a, b and range(), choice(), glob() make a sweep, one process a point",
                short="-m",
            ),
            *SCHEDULE,
            Option("--again", "repeat a run that is there already, in a new folder"),
            CODE,
            JSON,
        ),
        (0, MANY),
        "GROUP=NAME picks a member (`aihw ls` lists them), KEY=VALUE sets a value (`aihw show` explains them).\n"
        "The same command finds a finished run again and resumes an interrupted one.",
    ),
    Command(
        "resume",
        "continue an interrupted run, sweep or search",
        "aihw resume FOLDER [key=value ...] [--jobs N] [--gpus 0,1] [--trials N] [--changed-program] [--json]",
        (
            (
                "aihw resume runs/digits/0a1b2c3d4e5f-1",
                "ends with the bits of the uninterrupted run",
            ),
            (
                "aihw resume runs/digits/0a1b2c3d4e5f-1 run.checkpoint_every=100",
                "with other checkpoints, threads or logs",
            ),
            (
                "aihw resume runs/digits/sweep-0a1b2c3d4e5f --jobs 4",
                "runs only what is missing",
            ),
        ),
        resume,
        (*SCHEDULE, TRIALS, CHANGED, CODE, JSON),
        (1, MANY),
    ),
)
