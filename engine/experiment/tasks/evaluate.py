"""A trained network on programmed devices: its accuracy over time, with and without drift compensation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.config import setting
from engine.experiment.files import write_csv, writing
from engine.experiment.tasks import task_settings
from engine.settings import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from engine.experiment.data import Info
    from engine.experiment.runs import RunFolder
    from engine.experiment.train import Reporter

ABOUT = "Program trained weights on noisy devices, several times, let them drift, and test at each time."
SOURCE = "Rasch et al., Nat. Commun. 14:5282 (2023), doi:10.1038/s41467-023-40770-4"
SECTIONS = ("device", "tile", "algorithm", "model", "dataset", "loss", "layers", "inference")
FIGURE, LOWER_IS_BETTER = "accuracy", False
LEFT_OUT = ("weights",)
HWA = "hwa"


@dataclass
class Settings:
    """What is evaluated."""

    weights: str = setting("", "run folder, or file of tensors (.safetensors, .pt)")


def check(settings: Settings) -> None:
    """Raises ValueError if there is nothing to evaluate."""
    if not settings.weights:
        raise ValueError("task.weights must name a run folder or a file of tensors")


def fingerprint(config: Mapping[str, Any]) -> str:
    """What the weights are, wherever they lie."""
    from engine.experiment.tasks._trained import fingerprint

    return fingerprint(Path(task_settings(config, Settings).weights))


def trained_for_tiles(config: Mapping[str, Any]) -> bool:
    """Whether a run was hardware-aware, so that its network lies on tiles as it is."""
    named = [config.get("algorithm"), *(own.get("algorithm") for own in (config.get("layers") or {}).values())]
    return any(one == HWA or (isinstance(one, Mapping) and one.get("name") == HWA) for one in named)


def examine(config: Mapping[str, Any]) -> None:
    """Raises UserError if the weights do not fit the model, or the settings not its layers."""
    import torch

    from engine.experiment.data import load_data

    on_tiles(config, load_data(config["dataset"]).info, torch.device("cpu"))


def run(config: Mapping[str, Any], folder: RunFolder, reporter: Reporter) -> dict[str, Any]:
    """Test after each programming and time. Goes on after the programmings that are in metrics.csv already."""
    from engine.experiment.data import load_data
    from engine.experiment.loop import evaluate
    from engine.experiment.processor import processor
    from engine.experiment.tasks._course import NONE, course, points, read_rows
    from engine.experiment.tasks._plot import plot_course
    from engine.inference import InferenceSpec
    from engine.inference.times import label

    where, spec = processor(config["run"]), InferenceSpec.from_config(config["inference"])
    data = load_data(config["dataset"]).to(where)
    model, digital = on_tiles(config, data.info, where)
    same = model if trained_for_tiles(config) else digital
    _, reference = evaluate(same, config, data.test_x, data.test_y)
    reporter.message(f"{reference_name(config)}: accuracy {reference:.4f}")

    def test(network: nn.Module) -> tuple[float, float]:
        return evaluate(network, config, data.test_x, data.test_y)

    rows = read_rows(folder.path / "metrics.csv", len(spec.times) * (1 if spec.compensation == NONE else 2))
    done = rows[-1]["repeat"] if rows else 0
    for new in course(model, spec, test, seed=int(config["run"]["seed"]), done=done):
        rows += new
        folder.write_metrics(rows)
        told = [f"{r['accuracy']:.4f} after {label(r['time'])}" for r in new if r["compensation"] == spec.compensation]
        reporter.message(f"programming {new[0]['repeat']}/{spec.repeats}: {', '.join(told)}")
    found = points(rows)
    with writing("the results", folder.path):
        write_csv(folder.path / "accuracy.csv", found, list(found[0]))
        plot_course(found, (reference_name(config), reference), folder.path / "accuracy.png")
    last = [point for point in found if point["compensation"] == spec.compensation][-1]
    figures = {"reference": reference_name(config), "reference_accuracy": reference}
    return {**figures, "accuracy": last["mean"], "after": last["after"], "points": found}


def reference_name(config: Mapping[str, Any]) -> str:
    """What the accuracies are compared with: a network that was trained for tiles means nothing without them."""
    return "as trained, on its tiles" if trained_for_tiles(config) else "floating point"


def on_tiles(config: Mapping[str, Any], info: Info, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The trained network on tiles of `config`, and the same logical weights in floating point.

    A network trained for tiles lies on them as it is; the layers of any other are mapped directly.
    """
    import torch

    from engine.experiment.build import check_names, layer_config
    from engine.experiment.tasks._trained import trained
    from engine.nn import convert_to_analog, convert_to_digital, set_exact
    from engine.tile.settings import TileSpec

    model, layers = trained(config, Path(task_settings(config, Settings).weights), info, device)
    check_names(config, layers)
    digital = convert_to_digital(model)
    if trained_for_tiles(config):
        return model, digital
    paths = {path: name for path, module in model.named_modules() for name, made in layers.items() if made is module}

    def spec(path: str, _: nn.Module) -> TileSpec | None:
        own = layer_config(config, paths.get(path, ""))
        return None if own["algorithm"].get("name") == "digital" else TileSpec.from_config(own)

    torch.manual_seed(int(config["run"]["seed"]))
    try:
        analog = convert_to_analog(digital, spec)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    set_exact(analog, bool(config["run"].get("exact")))
    return analog, digital
