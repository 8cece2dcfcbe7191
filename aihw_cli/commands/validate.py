"""`aihw validate`: a recipe, or a preset or group member, checked as a run would check it, and
nothing run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from aihw_cli.recipe import STANDARD
from aihw_cli.report import note
from engine.presets import (
    GLOBAL,
    Member,
    groups,
    load_member,
    nearest,
    overlay,
    read_member,
    with_defaults,
)
from engine.readers.wording import first_line
from engine.settings import UserError, user_path

RECIPE, PRESET = "recipe", "preset"
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
    "inference": ("noise_model",),
    "recipe": (
        "defaults",
        "claim",
        "dataset",
        "run",
        "optimizer",
        "layers",
        "device",
        "tile",
    ),
    "dataset": ("root", "batch_size"),
    "optimizer": ("lr",),
    "run": ("epochs",),
}
MANY = 10**9


def validate(arguments: Arguments) -> int:
    """Say whether a file is valid and what it resolves to."""
    path = user_path(arguments.words[0])
    kind = arguments.options.get("--as") or kind_of(path)
    values = check(
        path, kind, arguments.words[1:], allow_code=arguments.has("--allow-code")
    )
    if arguments.has("--json"):
        say_json(values, indent=1)
    else:
        say(
            f"{path}: valid {kind}" + (f" ({values['name']})" if kind == RECIPE else "")
        )
    return 0


def check(
    path: Path, kind: str, changes: list[str], *, allow_code: bool = False
) -> dict[str, Any]:
    """The complete configuration of a recipe, or the complete sections of a member. Raises
    UserError."""
    from aihw_cli.check import Checker
    from aihw_cli.compose import compose, flatten
    from aihw_cli.composition.interpolation import resolve
    from aihw_cli.effects import refuse_without_effect
    from aihw_cli.recipe import check_member, check_text, entries

    if kind == RECIPE:
        values = compose(changes, conf=_recipe_path(path), allow_code=allow_code).values
        for text in refuse_without_effect(changes, [values]):
            note(text)
        _check_figure(path)
        check_network(values)
        return values
    if kind not in groups():
        raise UserError(f"--as {kind}: {nearest(kind, [RECIPE, *groups()])}")
    if changes:
        raise UserError(f"{changes[0]}: only a recipe can be changed by key=value")
    member = read_member(path)
    check_text(member)
    for group, option, package in entries(path, member.values.get("defaults", [])):
        check_member(path, group or kind, option, package)
    own = placed(member, kind)
    origins = {name: [(str(path), value)] for name, value in flatten(own)}
    values = resolve(str(path), overlay(_rest(member, kind), own))
    whole = Checker(origins, allow_code).complete(values)
    if kind == "model":
        _check_model(path, whole)
    return whole[kind] if kind != PRESET else {key: whole[key] for key in own}


def _check_figure(path: Path) -> None:
    """What a recipe says of the published figure that it repeats, and of its runs."""
    if "reproduce" not in read_member(path).values:
        return
    from aihw_cli import overrides
    from aihw_cli.papers.figures import load

    figure = load(path.stem, path)
    scaled = figure.scaled.changes if figure.scaled else ()
    for word in dict.fromkeys(
        (*(w for p in figure.points for w in p.overrides), *scaled)
    ):
        try:
            overrides.read([word])
        except UserError as error:
            raise UserError(f"{path}: reproduce: {error}") from None


def check_network(config: dict[str, Any]) -> None:
    """What only data and network know of a training. Data that are not here are not fetched: then
    a remark says so."""
    from engine.experiment.tasks import TRAIN, task_of

    if task_of(config) != TRAIN:
        return
    from engine.experiment.build import examine
    from engine.experiment.data import dataset_info, load_data
    from engine.experiment.members import find_member

    settings = {**config["dataset"], "download": False}
    dataset = find_member("datasets", settings["name"])
    try:
        dataset.files(settings)
    except UserError as error:
        note(f"the data were not checked, as they are not here: {first_line(error)}")
        info = dataset_info(settings) if hasattr(dataset, "SHAPE") else None
    else:
        info = load_data(settings).info
    if info is not None:
        examine(config, info)


def _check_model(path: Path, config: dict[str, Any]) -> None:
    """Refuse a network that can be built for no samples: not for colour images, digits or text."""
    from engine.experiment.build import check_size
    from engine.experiment.data import TEXT, Info

    samples = (Info((3, 32, 32), 10), Info((1, 28, 28), 10), Info((64,), 64, TEXT))
    problems = []
    for info in samples:
        try:
            check_size(config, info)
            return
        except UserError as error:
            problems.append(str(error))
    # The first samples of the kind that it takes say what is wrong; the others say only "takes".
    told = [text for text in problems if " takes " not in text] or problems
    raise UserError(f"{told[0]} ({path})")


def placed(member: Member, kind: str) -> dict[str, Any]:
    """The values of a member, at their place in the configuration."""
    values = with_defaults(member.values, kind)
    package = member.package or kind
    if kind == PRESET and package != GLOBAL:
        raise UserError(
            f"{member.path}: a preset begins with the line `# @package {GLOBAL}`"
        )
    for part in () if package == GLOBAL else reversed(package.split(".")):
        values = {part: values}
    return values


def _rest(member: Member, kind: str) -> dict[str, Any]:
    """What a run has beside the member: the standard members of the groups that it leaves alone."""
    given = [
        key
        for entry in member.values.get("defaults", [])
        if isinstance(entry, dict)
        for key in entry
    ]
    replaced = {
        kind,
        *(key.removeprefix("override ").strip().removeprefix("/") for key in given),
    }
    rest = {
        g: load_member(g, name) for g, name in STANDARD if name and g not in replaced
    }
    return {**rest, "name": "check"}


def kind_of(path: Path) -> str:
    """What a file is, from the folder it lies in, else from its keys."""
    folder = os.path.basename(os.path.dirname(os.path.realpath(path)))
    if folder in groups():
        return folder
    member = read_member(path)
    if member.package == GLOBAL:
        return PRESET
    values = member.values
    for kind in (RECIPE, "inference", "device", "tile", "dataset", "optimizer", "run"):
        if any(sign in values for sign in SIGNS[kind]):
            return kind
    raise UserError(
        f"{path}: cannot tell what it is; add --as {RECIPE} or one of {', '.join(sorted(groups()))}"
    )


def _recipe_path(path: Path) -> str:
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(
            f"{path}: a recipe is a .yaml file; {nearest(path.suffix, ['.yaml'])}"
        )
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
