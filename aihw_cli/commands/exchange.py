"""`aihw import` and `aihw export`: models that come from other programs, and that go to them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from engine.settings import UserError, user_path
from engine.trust import files
from engine.trust.text import visible

if TYPE_CHECKING:
    from engine.exchange.aihwkit.file import Source

EXPORTER = Path(__file__).parents[1] / "scripts" / "export_aihwkit.py"
RECIPE, WEIGHTS, CELLS = "recipe.yaml", "weights.safetensors", "cells.safetensors"
MANY = 10**9
HEAD = """# A model of aihwkit {version}, imported from {file}. Train it, on other data or for longer:
#   aihw train conf={recipe} run.start={cells} model=NAME dataset=NAME
# run.start={weights} starts new cells from its weights instead.
"""


def import_model(arguments: Arguments) -> int:
    """Print the exporter, or turn a file of it into a recipe and weights."""
    if arguments.has("--exporter"):
        if arguments.words:
            raise UserError(
                f"--exporter prints a script; it takes no {arguments.words[0]!r}"
            )
        say(EXPORTER.read_text(encoding="utf-8"), end="")
        return 0
    if not arguments.words:
        raise UserError(f"aihw import needs a file; usage: {COMMANDS[0].usage}")
    from engine.exchange.aihwkit.file import read_source

    path = user_path(arguments.words[0])
    source = read_source(path)
    out = user_path(arguments.options.get("--out", path.stem))
    report = _import(source, out, arguments)
    if arguments.has("--json"):
        say_json(report)
    else:
        say(_text(report))
    return 0


def _import(source: Source, out: Path, arguments: Arguments) -> dict[str, Any]:
    """Write recipe, weights and cells of a model; returns what was done and what is left out."""
    from engine.exchange.aihwkit.lost import Losses
    from engine.exchange.aihwkit.network import learning_rates, logical_state
    from engine.exchange.aihwkit.recipe import settings_by_grid

    if (out / RECIPE).exists():
        raise UserError(
            f"{out / RECIPE} is there already; name another folder with --out"
        )
    losses, words = Losses(), arguments.words[1:]
    settings = settings_by_grid(
        source, losses, as_released=arguments.has("--as-released")
    )
    weights = logical_state(source, losses)
    # Without a network, layers keep the names that they have in aihwkit.
    names, report = _their_names(settings), _report(source, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if words:
            names, weights, report["network"] = _fit(source, out, settings, words)
        _write_recipe(
            source, out, {names[grid]: values for grid, values in settings.items()}
        )
        _write_weights(out / WEIGHTS, weights)
        files.write_new(out / CELLS, files.read_bytes(source.path, follow=True))
    except OSError as problem:
        raise UserError(f"cannot write {out}: {problem.strerror or problem}") from None
    except UserError:
        # A recipe that fits nothing would stand in the way of the next try.
        (out / RECIPE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            out.rmdir()
        raise
    _check_recipe(
        out / RECIPE, {names[grid]: values for grid, values in settings.items()}
    )
    rates = learning_rates(source)
    if rates:
        # A rate is one of the optimizer, which is the user's choice here as it was there.
        report["learning_rate"] = rates[0] if len(rates) == 1 else rates
    report["not_carried"] = [*source.left, *map(str, losses.found)]
    return report


def _write_recipe(
    source: Source, out: Path, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    import yaml

    from engine.exchange.aihwkit.recipe import recipe
    from engine.experiment.runs import folder_name

    values = {"name": folder_name(out.name), **recipe(settings)}
    places = {"recipe": out / RECIPE, "cells": out / CELLS, "weights": out / WEIGHTS}
    shown = {"version": source.aihwkit, "file": source.path.name, **places}
    # A line break in one of them would end the comment: what follows would be a setting.
    head = HEAD.format_map({key: visible(value) for key, value in shown.items()})
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    files.write_bytes(out / RECIPE, (head + text).encode())


def _write_weights(path: Path, weights: Mapping[str, Any]) -> None:
    from safetensors.torch import save

    files.write_new(
        path, save({k: value.contiguous().clone() for k, value in weights.items()})
    )


def _their_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """The layer of each grid: both matrices of a recurrent layer belong to one."""
    from engine.exchange.aihwkit.names import layer_name

    return {grid: layer_name(grid) for grid in settings}


def _check_recipe(path: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Compose what was written: it must give every layer the settings that were imported."""
    from aihw_cli.compose import compose
    from engine.exchange.nearest import same_settings
    from engine.experiment.build import layer_config

    composed = compose([], conf=str(path)).values
    for layer, values in settings.items():
        # Any difference would train other physics under the name of the imported model.
        if not same_settings(layer_config(composed, layer), values):
            raise RuntimeError(
                f"{path} does not say what {layer} had: a fault of aihw import"
            )


def _report(source: Source, out: Path) -> dict[str, Any]:
    return {
        "aihwkit": source.aihwkit,
        "layers": len(source.tiles),
        "tiles": sum(len(grid) for grid in source.tiles.values()),
        "recipe": str(out / RECIPE),
        "weights": str(out / WEIGHTS),
        "cells": str(out / CELLS),
    }


def _fit(
    source: Source,
    out: Path,
    settings: Mapping[str, Mapping[str, Any]],
    words: Sequence[str],
) -> tuple[dict[str, str], dict[str, Any], str]:
    """Load the model into the network that `words` name, as a run would: the network's layers by
    the source's grids, its weights in floating point, and a line on it."""
    from engine.exchange import aihwkit
    from engine.exchange.aihwkit.names import grid_name
    from engine.exchange.aihwkit.network import matched
    from engine.nn import convert_to_digital

    # Settings of single layers need the names that the layers have in this network.
    uniform = {grid: next(iter(settings.values())) for grid in settings}
    _write_recipe(source, out, uniform)
    model, layers, _ = _network(out, words)
    paths = {path: name for path, part in model.named_modules() for name, made in layers.items()
             if made is part}  # fmt: skip
    grids = matched(model, source)
    names = {grid: paths[path.rpartition(".")[0]] for path, grid in grids.items()}
    _write_recipe(
        source, out, {names[grid]: values for grid, values in settings.items()}
    )
    # Built again with the settings of every layer, now under its name.
    model, _, title = _network(out, words)
    lost = aihwkit.load(model, source.path).found
    renamed = [f"{name} is {grid}" for grid, name in names.items() if name != grid]
    by_name = all(path.endswith(grid_name(grid).path) for path, grid in grids.items())
    how = (
        ""
        if by_name or not renamed
        else f"; found in their order: {', '.join(renamed)}"
    )
    rest = f"; without a place there: {', '.join(map(str, lost))}" if lost else ""
    return names, convert_to_digital(model).state_dict(), f"fits {title}{how}{rest}"


def _network(out: Path, words: Sequence[str]) -> tuple[Any, Any, str]:
    """The network of the recipe with `words`, its layers by name, and what it is."""
    import torch

    from aihw_cli.compose import compose
    from engine.experiment.build import network
    from engine.experiment.data import dataset_info

    config = compose(words, conf=str(out / RECIPE)).values
    model, layers = network(
        config, dataset_info(config["dataset"]), torch.device("cpu")
    )
    return (
        model,
        layers,
        f"model {config['model']['name']} with {config['dataset']['name']}",
    )


def _text(report: Mapping[str, Any]) -> str:
    lines = [
        f"{report['layers']} matrices on {report['tiles']} tiles, of aihwkit {report['aihwkit']}",
        f"settings  {report['recipe']}",
        f"weights   {report['weights']}  (torch's names; run.start, aihw eval)",
        f"cells     {report['cells']}  (with their tiles; run.start)",
    ]
    lines += [f"network   {report['network']}"] if "network" in report else []
    if "learning_rate" in report:
        rate = f"lr        {report['learning_rate']}, for losses that are means over a batch"
        lines.append(f"{rate} (optimizer.lr, loss.reduction=mean)")
    lines += [f"not carried: {line}" for line in report["not_carried"]]
    return "\n".join(map(visible, lines))


COMMANDS = (
    Command(
        "import",
        "turn a model of aihwkit into a recipe and weights",
        "aihw import FILE [key=value ...] [--out FOLDER] [--as-released] [--json]",
        (
            (
                "aihw import --exporter > export_aihwkit.py",
                "the script that runs beside aihwkit",
            ),
            (
                "python export_aihwkit.py model.pt model.safetensors",
                "there: a file to import",
            ),
            (
                "aihw import model.safetensors",
                "writes model/recipe.yaml and its weights",
            ),
            (
                "aihw import model.safetensors model=lenet dataset=mnist",
                "and tries whether it fits this network",
            ),
            (
                "aihw train conf=model/recipe.yaml run.start=model/cells.safetensors ...",
                "goes on with the same cells",
            ),
        ),
        import_model,
        (
            Option(
                "--exporter",
                "print the script that runs beside aihwkit and writes FILE",
            ),
            Option(
                "--out",
                "the folder that is written; the name of FILE otherwise",
                "FOLDER",
            ),
            Option(
                "--as-released",
                "also set the options that follow quirks of aihwkit's release (docs/quirks.md)",
            ),
            Option("--json", "the report as JSON"),
        ),
        (0, MANY),
        "Settings of all layers become one recipe, compared with the presets; logical weights get torch's names;\n"
        "constants of cells, scales, input ranges, buffers and choppers stay in FILE, which run.start reads. What\n"
        "cannot be carried is named, line by line. docs/from_aihwkit.md has their words and ours.",
    ),
)
