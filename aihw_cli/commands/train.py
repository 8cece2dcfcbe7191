"""`aihw train` and `aihw resume`."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.report import PlainReporter, make_reporter, note
from engine.settings import UserError

FAILED, INTERRUPTED = 1, 130
MANY = 10**9


def train(arguments: Arguments) -> int:
    """Compose, then train once, or once for each point and seed."""
    from aihw_cli import sweep
    from aihw_cli.compose import compose

    multirun, again = arguments.has("--multirun"), arguments.has("--again")
    if not multirun:
        composed = compose(arguments.words, allow_code=arguments.has("--allow-code"))
        for text in composed.notes:
            note(text)
        if composed.values["seeds"] == 1:
            return _train_once(composed.values, arguments)
    flags = ["--allow-code"] if arguments.has("--allow-code") else []
    planned = sweep.plan(arguments.words, multirun=multirun, flags=flags, again=again)
    return _run_sweep(planned, arguments)


def resume(arguments: Arguments) -> int:
    """Go on with a run or with a sweep."""
    from aihw_cli import sweep
    from aihw_cli.check import device_models
    from aihw_cli.overrides import is_device_file
    from engine.experiment.runs import read_config

    folder = Path(arguments.words[0]).expanduser()
    if (folder / sweep.MANIFEST).is_file():
        return _run_sweep(sweep.load(folder), arguments)
    if (folder / "config.yaml").is_file() and not arguments.has("--allow-code"):
        for key, model in device_models(read_config(folder)):
            if isinstance(model, str) and is_device_file(model):
                raise UserError(f"{key}={model} runs the code of that file: add --allow-code to allow it ({folder})")

    def work(reporter: PlainReporter) -> dict[str, Any]:
        from engine.experiment.train import resume as engine_resume

        return engine_resume(folder, reporter)

    return _guarded(work, folder, arguments)


def _train_once(config: dict[str, Any], arguments: Arguments) -> int:
    from engine.experiment.runs import DONE, run_folder, run_status

    folder = run_folder(config, again=arguments.has("--again"))
    existed = run_status(folder) in DONE

    def work(reporter: PlainReporter) -> dict[str, Any]:
        from engine.experiment.train import train as engine_train

        return engine_train(config, folder, reporter)

    code = _guarded(work, folder, arguments)
    if existed and code == 0 and not arguments.has("--json"):
        note("this run was there already; --again makes a new one")
    return code


def _guarded(work: Callable[[PlainReporter], dict[str, Any]], folder: Path, arguments: Arguments) -> int:
    """Run `work`, report on it, and turn its end into an exit code."""
    as_json = arguments.has("--json")
    code, result, last = 0, {"status": "interrupted"}, ""
    with make_reporter(sys.stderr if as_json else sys.stdout) as reporter:
        try:
            result = work(reporter)
        except UserError:
            raise
        except KeyboardInterrupt:
            code, last = INTERRUPTED, _how_to_go_on(folder, arguments)
        except Exception as error:
            code, result, last = FAILED, {"status": "failed"}, _failure(error, folder)
    if last:
        print(last, file=sys.stderr)
    if as_json:
        print(json.dumps({"folder": str(folder), **result}))
    return code


def _how_to_go_on(folder: Path, arguments: Arguments) -> str:
    if not (folder / "run.json").is_file():
        return "interrupted before the run began; nothing was written"
    flag = " --allow-code" if arguments.has("--allow-code") else ""
    return f"interrupted; go on with: aihw resume {folder}{flag}"


def _failure(error: Exception, folder: Path) -> str:
    if (folder / "log.txt").is_file():
        first = (str(error).splitlines() or [""])[0]
        return f"the run failed: {type(error).__name__}: {first}\nmore in {folder / 'log.txt'}"
    return "".join(traceback.format_exception(error)) + "the run failed"


def _run_sweep(sweep: Any, arguments: Arguments) -> int:
    from aihw_cli import sweep as engine_room
    from aihw_cli import table

    as_json = arguments.has("--json")
    stream = sys.stderr if as_json else sys.stdout
    code = engine_room.run(sweep, lambda text: print(text, file=stream, flush=True))
    rows = sweep.rows()
    if as_json:
        print(json.dumps({"folder": str(sweep.folder), "points": [table.without_gaps(row) for row in rows]}))
    elif code != INTERRUPTED:
        print(table.as_text(rows))
        print(f"table {sweep.folder / 'table.csv'}")
    return code


CODE = Option("--allow-code", "allow a device file of your own to run (device=my_device.py:MyDevice)")
JSON = Option("--json", "the result as one JSON line on stdout; progress goes to stderr")
COMMANDS = (
    Command(
        "train",
        "train a network from a recipe",
        "aihw train [conf=NAME|FILE.yaml] [key=value ...] [-m] [--again] [--allow-code] [--json]",
        (
            ("aihw train", "the digits that come with scikit-learn"),
            ("aihw train device=ecram optimizer.lr=0.05 run.epochs=3", "another device and other values"),
            ("aihw train conf=mnist_fcn dataset.root=data dataset.download=true", "another recipe"),
            ("aihw train conf=my.yaml", "a recipe of your own"),
            ("aihw train -m device=ecram,capacitor device.dw_min=0.001,0.002", "a sweep over four points"),
            ("aihw train algorithm=digital seeds=5", "the floating-point baseline, mean of five seeds"),
            ("aihw train 'layers={fc2:{algorithm:digital}}'", "one layer in floating point"),
        ),
        train,
        (
            Option("--multirun", "a, b and range(), choice(), glob() make a sweep, one process a point", short="-m"),
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
        "continue an interrupted run or sweep",
        "aihw resume FOLDER [--allow-code] [--json]",
        (("aihw resume runs/digits/0a1b2c3d4e5f-1", "ends with the bits of the uninterrupted run"),),
        resume,
        (CODE, JSON),
        (1, 1),
    ),
)
