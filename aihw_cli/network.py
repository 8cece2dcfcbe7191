"""`aihw show --model`: the layers of a network as a recipe builds it, the tiles that they lie on,
and parameters."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aihw_cli.output import say, say_json
from aihw_cli.recipe import DEFAULT, recipes
from engine.presets import members, nearest, read_yaml
from engine.settings import UserError
from engine.trust.code import is_code
from engine.trust.text import visible

if TYPE_CHECKING:
    from engine.nn.summary import Summary

# Where networks of torchvision and of users stand in ours.
INSIDE = "network."
NUMBERS = ("tiles", "cells", "used", "reads", "digital")


def show_network(words: Sequence[str], *, allow_code: bool, as_json: bool) -> int:
    """Build the network of a recipe or model, without its data where they are not needed, and show
    what it is."""
    from aihw_cli.compose import compose

    config = compose([*overrides(words[0]), *words[1:]], allow_code=allow_code).values
    title, summary = summarise(config)
    if as_json:
        say_json(
            {"name": config["name"], "title": title, **summary.as_data()}, indent=1
        )
    elif sys.stdout.isatty():
        _print_table(title, summary)
    else:
        say(f"{title}\n\n{summary}")
    return 0


def overrides(name: str) -> list[str]:
    """What composes the network of a name: that of a recipe, or of the first recipe that has the
    model of this name."""
    known = {short for full in recipes() for short in (full, full.rpartition("/")[2])}
    if name in known or name.endswith((".yaml", ".yml")):
        return [f"conf={name}"]
    if is_code(name):
        return [f"conf={DEFAULT}", f"model={name}"]
    if name not in members("model"):
        everything = {*known, *members("model")}
        raise UserError(f"no model or recipe {name!r}; {nearest(name, everything)}")
    for full, paths in sorted(
        recipes().items(), key=lambda item: not item[0].startswith("basics/")
    ):
        defaults: Any = None
        with contextlib.suppress(UserError):  # it is named where it is asked for
            defaults = read_yaml(paths[0]).get("defaults")
        if isinstance(defaults, list) and {"model": name} in defaults:
            return [f"conf={full}"]
    return [f"conf={DEFAULT}", f"model={name}"]


def summarise(config: dict[str, Any]) -> tuple[str, Summary]:
    """A line on the network of a configuration, and its summary."""
    import torch

    from engine.experiment.build import network
    from engine.experiment.data import TEXT, dataset_info
    from engine.nn import analog_summary
    from engine.nn.summary import Summary

    info = dataset_info(config["dataset"])
    model, layers = network(config, info, torch.device("cpu"))
    kind = torch.int64 if info.kind == TEXT else torch.float32
    found = analog_summary(model, torch.zeros(1, *info.shape, dtype=kind))
    # Layers are called as `layers` in a recipe calls them.
    called = {id(layer): name for name, layer in layers.items()}
    names = {
        path: called.get(id(part), path.removeprefix(INSIDE))
        for path, part in model.named_modules()
    }
    summary = Summary(
        [replace(row, layer=names.get(row.layer, row.layer)) for row in found.rows]
    )
    shape = " x ".join(map(str, info.shape))
    dataset = config["dataset"]["name"]
    return (
        f"{config['name']}: {config['model']['name']}, {shape} of {dataset} to {info.classes} classes",
        summary,
    )


def _print_table(title: str, summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heads, *rows = summary.cells()
    table = Table(
        title=Text(visible(title)),
        title_justify="left",
        caption=summary.last_line(),
        caption_justify="left",
    )
    for head in heads:
        table.add_column(
            head, justify="right" if head in NUMBERS else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    Console().print(table, markup=False)
