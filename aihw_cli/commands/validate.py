"""`aihw validate`: a recipe, or a preset or group member, checked as a run would check it, and
nothing run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from engine.presets import groups, nearest, read_yaml, with_defaults
from engine.settings import UserError, user_path

RECIPE = "recipe"
# A key that tells the kind of a file that does not lie in a group's folder.
SIGNS = {
    "device": ("model", "dw_min"),
    "tile": (
        "forward",
        "backward",
        "update",
        "mapping",
        "modifier",
        "clip",
        "remap",
        "input_range",
    ),
    "recipe": ("defaults", "claim", "dataset", "run", "optimizer", "layers", "device", "tile"),
    "dataset": ("root", "batch_size"),
    "optimizer": ("lr",),
    "run": ("epochs",),
}
MANY = 10**9


def validate(arguments: Arguments) -> int:
    """Say whether a file is valid and what it resolves to."""
    path = user_path(arguments.words[0])
    kind = arguments.options.get("--as") or kind_of(path)
    values = check(path, kind, arguments.words[1:], allow_code=arguments.has("--allow-code"))
    if arguments.has("--json"):
        say_json(values, indent=1)
    else:
        say(f"{path}: valid {kind}" + (f" ({values['name']})" if kind == RECIPE else ""))
    return 0


def check(path: Path, kind: str, changes: list[str], *, allow_code: bool = False) -> dict[str, Any]:
    """The complete configuration of a recipe, or the complete section of a member. Raises
    UserError."""
    from aihw_cli.check import Checker
    from aihw_cli.compose import compose, flatten
    from aihw_cli.recipe import check_member, check_text, entries

    if kind == RECIPE:
        return compose(changes, conf=_recipe_path(path), allow_code=allow_code).values
    values = read_yaml(path)
    check_text(path, values)
    for group, option, package in entries(path, values.get("defaults", [])):
        check_member(path, group or kind, option, package)
    if kind == "preset":
        return {key: value for key, value in values.items() if key != "defaults"}
    values = with_defaults(values)
    origins = {name: [(str(path), value)] for name, value in flatten({kind: values})}
    other = {"algorithm": {"name": "sgd"}, "model": {"name": "mlp"}, "name": "check"}
    return Checker(origins, allow_code).complete({**other, kind: values})[kind]


def kind_of(path: Path) -> str:
    """What a file is, from the folder it lies in, else from its keys."""
    if path.resolve().parent.name in groups():
        return path.resolve().parent.name
    values = read_yaml(path)
    for kind in (RECIPE, "device", "tile", "dataset", "optimizer", "run"):
        if any(sign in values for sign in SIGNS[kind]):
            return kind
    raise UserError(
        f"{path}: cannot tell what it is; add --as {RECIPE} or one of {', '.join(sorted(groups()))}"
    )


def _recipe_path(path: Path) -> str:
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: a recipe is a .yaml file; {nearest(path.suffix, ['.yaml'])}")
    return str(path)


COMMANDS = (
    Command(
        "validate",
        "check a YAML file without running it",
        "aihw validate FILE [key=value ...] [--as KIND] [--json]",
        (
            ("aihw validate my.yaml", "a recipe of your own"),
            ("aihw validate my.yaml device=ecram", "and what a run would change in it"),
            ("aihw validate presets/device/mine.yaml", "a device preset"),
            (
                "aihw validate mine.yaml --as device",
                "where neither folder nor keys tell what it is",
            ),
        ),
        validate,
        (
            Option("--as", "what the file is: recipe, device, tile, ...", value="KIND"),
            Option("--allow-code", "allow a device file of your own to run"),
            Option("--json", "the complete configuration as JSON"),
        ),
        (1, MANY),
    ),
)
