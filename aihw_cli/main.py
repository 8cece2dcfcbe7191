"""`aihw`: the map of commands, dispatch, and the exit codes: 0 done, 2 wrong input, 1 failed, 130
interrupted."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from aihw_cli.arguments import ALIKE, Command, table
from aihw_cli.output import enduring_streams, reason, say, say_error
from engine.experiment.interrupt import interruptible
from engine.readers.wording import nearest_of
from engine.settings import UserError
from engine.trust.code import code_permission

# Name, module and summary stand here so that the map is shown without importing a single command.
COMMANDS = {
    "train": ("train", "train a network from a recipe; no recipe: the embedded digits"),
    "eval": ("eval", "program trained weights on noisy devices, let them drift, test"),
    "resume": ("train", "continue an interrupted run, sweep or search"),
    "search": ("search", "find good values of parameters, trial by trial"),
    "runs": ("runs", "list, compare, rank and draw recorded runs"),
    "reproduce": (
        "reproduce",
        "repeat figures of published papers and judge how close it comes",
    ),
    "ls": (
        "catalog",
        "list recipes, presets, devices, tiles, algorithms, models, datasets",
    ),
    "show": ("explain", "explain one of them: formula, parameters, units, source"),
    "device": ("device", "draw how devices answer to pulses"),
    "export": ("export", "write a run for other programs, other people, or a paper"),
    "import": ("exchange", "turn a model of aihwkit into a recipe and weights"),
    "cp": ("catalog", "copy one of them to a file of your own"),
    "validate": ("validate", "check a YAML file without running it"),
    "doctor": ("doctor", "versions, compiler, GPU, which backend is active and why"),
    "completion": ("catalog", "print the completion script for bash"),
}
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
ALLOW_CODE = "--allow-code"
# Any command takes it, anywhere.
DEBUG = "--debug"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in words
    with enduring_streams() as streams, interruptible():
        code = _run([word for word in words if word != DEBUG], debug=debug)
        sys.stdout.flush()
        lost = streams[0].problem
        if lost:
            say_error(f"the output could not be written: {lost}")
        return code or (FAILED if lost else OK)


def _run(words: list[str], *, debug: bool = False) -> int:
    """The exit code of a command line, and a line for whatever went wrong outside our code; with
    `debug`, how it came about stands above that line."""
    try:
        return dispatch(words)
    except UserError as error:
        if debug:
            say("".join(traceback.format_exception(error)), stream=sys.stderr)
        say_error(error)
        return WRONG_INPUT
    except KeyboardInterrupt:
        say("interrupted", stream=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        # A file or folder that cannot be used; where we expect that, it is told with more words.
        say_error(reason(error))
        return WRONG_INPUT
    except (MemoryError, ImportError) as error:
        say_error(reason(error))
        return FAILED


def dispatch(words: list[str]) -> int:
    """Find the command of the first word and run it with the others."""
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[0] == "help":
            return dispatch([words[1], "--help"])
        say(overview())
        return OK
    if words[0] in ("-V", "--version"):
        say(f"aihw {version()}")
        return OK
    command = find_command(words[0])
    if "--help" in words or "-h" in words:
        say(command.help())
        return OK
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError(
            "the current folder was deleted: cd to one that is there"
        ) from None
    arguments = command.parse(words[1:])
    with code_permission(arguments.has(ALLOW_CODE)):
        return command.run(arguments)


def find_command(name: str) -> Command:
    """The command of a name. Raises UserError with the nearest."""
    if name not in COMMANDS:
        near = nearest_of(name, COMMANDS, ALIKE)
        hint = (
            f"did you mean `aihw {near}`?"
            if near
            else f"there are {', '.join(COMMANDS)}"
        )
        raise UserError(f"no command {name!r}; {hint}")
    module = importlib.import_module(f"aihw_cli.commands.{COMMANDS[name][0]}")
    return next(c for c in module.COMMANDS if c.name == name)


def overview() -> str:
    """The text of `aihw` alone."""
    rows = [(name, about) for name, (_, about) in COMMANDS.items()]
    return "\n\n".join(
        (
            "aihw: train neural networks on simulated crossbars of resistive devices",
            "usage: aihw COMMAND [key=value ...] [options]",
            "commands:\n" + table(rows),
            "examples:\n"
            + table(
                (
                    ("aihw train", "digits on noisy cells, less than a minute"),
                    (
                        "aihw train device=ecram run.epochs=3",
                        "another device, fewer epochs",
                    ),
                    (
                        "aihw train -m device=ecram,capacitor seeds=3",
                        "a sweep with three seeds a point",
                    ),
                    ("aihw ls device", "which devices there are"),
                    ("aihw show ecram", "what its numbers mean"),
                )
            ),
            "`aihw COMMAND --help` says more; --debug adds the traceback to an error.",
        )
    )


def version() -> str:
    """The version of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("aihw")
    except metadata.PackageNotFoundError:
        return "(not installed)"
