"""A trained network on programmed devices: its accuracy over time, with and without drift
compensation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
SECTIONS = (
    "device",
    "tile",
    "algorithm",
    "model",
    "dataset",
    "loss",
    "layers",
    "inference",
)
FIGURE, LOWER_IS_BETTER = "accuracy", False
LEFT_OUT = ("weights",)
HWA = "hwa"


@dataclass
class Settings:
    """What is evaluated."""

    weights: str = setting("", "run folder, or file of tensors (.safetensors, .pt)")
    checkpoint: str = setting(
        "last",
        "which epoch of a run: its last one, or its best one (run.keep_best)",
        choices=("last", "best"),
    )
    calibration: str = setting(
        "quantile",
        "where tiles have input ranges: how a network that is mapped directly gets them from training data",
        choices=("quantile", "max", "moving_quantile", "moving_std"),
    )
    quantile: float = setting(
        0.99995,
        "share of the inputs within the range (quantile, moving_quantile)",
        maximum=1,
    )
    output_quantile: float = setting(
        0.0,
        "share of the outputs that must be within the bound of the ADC: raises ranges; 0 = any",
        minimum=0,
        maximum=1,
    )
    calibration_samples: int = setting(
        1000, "training samples that are looked at", minimum=1
    )


def check(settings: Settings) -> None:
    """Raises ValueError if there is nothing to evaluate, or no such quantile."""
    if not settings.weights:
        raise ValueError("task.weights must name a run folder or a file of tensors")
    if settings.quantile <= 0:
        raise ValueError(f"task.quantile must be > 0, not {settings.quantile:g}")


def fingerprint(config: Mapping[str, Any]) -> str:
    """What the weights are, wherever they lie."""
    from engine.experiment.tasks._trained import fingerprint

    return fingerprint(weights_of(config))


def weights_of(config: Mapping[str, Any]) -> Path:
    """Where the weights lie that an evaluation is about."""
    settings = task_settings(config, Settings)
    path = Path(settings.weights)
    return path / settings.checkpoint if settings.checkpoint != "last" else path


def trained_for_tiles(config: Mapping[str, Any]) -> bool:
    """Whether a run was hardware-aware, so that its network lies on tiles as it is."""
    named = [
        config.get("algorithm"),
        *(own.get("algorithm") for own in (config.get("layers") or {}).values()),
    ]
    return any(
        one == HWA or (isinstance(one, Mapping) and one.get("name") == HWA)
        for one in named
    )


def lies_on_tiles(config: Mapping[str, Any]) -> bool:
    """Whether the network that an evaluation is about was trained for its tiles; a file of tensors
    never was, unless it comes from aihwkit with its tiles."""
    from engine.exchange.aihwkit.file import is_source
    from engine.experiment.runs import read_config
    from engine.experiment.tasks._trained import is_weights_file

    path = Path(task_settings(config, Settings).weights)
    if is_weights_file(path):
        return is_source(path) and trained_for_tiles(config)
    return trained_for_tiles(read_config(path))


def examine(config: Mapping[str, Any]) -> None:
    """Raises UserError if the weights do not fit the model, or the settings not its layers."""
    import torch

    from engine.experiment.data import load_data

    model, _ = on_tiles(config, load_data(config["dataset"]).info, torch.device("cpu"))
    # What a file of tensors is evaluated with names its weights alone.
    chosen = {
        f.name
        for f in fields(Settings)
        if config["task"].get(f.name, f.default) != f.default
    }
    changed = sorted(chosen - {"weights", "checkpoint"})
    if changed and (lies_on_tiles(config) or not has_ranges(model)):
        why = (
            "the network was trained with its input ranges"
            if lies_on_tiles(config)
            else "no tile has an input range"
        )
        raise UserError(f"task.{changed[0]} means nothing here: {why}")


def run(
    config: Mapping[str, Any], folder: RunFolder, reporter: Reporter
) -> dict[str, Any]:
    """Test after each programming and time. Goes on after the programmings that are in metrics.csv
    already."""
    from engine.experiment.data import load_data
    from engine.experiment.loop import evaluate
    from engine.experiment.processor import processor
    from engine.experiment.tasks._course import NONE, course, points, read_rows
    from engine.experiment.tasks._plot import plot_course
    from engine.inference import InferenceSpec
    from engine.inference.times import label

    where, spec = (
        processor(config["run"]),
        InferenceSpec.from_config(config["inference"]),
    )
    data = load_data(config["dataset"], seed=int(config["run"]["seed"])).to(where)
    model, digital = on_tiles(config, data.info, where)
    found_ranges = (
        {} if lies_on_tiles(config) else calibrated(model, config, data.train_x)
    )
    if found_ranges:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in found_ranges.items())
        reporter.message(f"input ranges from training data: {shown}")
    same = model if lies_on_tiles(config) else digital
    _, reference = evaluate(same, config, data.test_x, data.test_y)
    reporter.message(f"{reference_name(config)}: accuracy {reference:.4f}")

    def test(network: nn.Module) -> tuple[float, float]:
        return evaluate(network, config, data.test_x, data.test_y)

    rows = read_rows(
        folder.path / "metrics.csv",
        len(spec.times) * (1 if spec.compensation == NONE else 2),
    )
    done = rows[-1]["repeat"] if rows else 0
    for new in course(model, spec, test, seed=int(config["run"]["seed"]), done=done):
        rows += new
        folder.write_metrics(rows)
        told = [
            f"{r['accuracy']:.4f} after {label(r['time'])}"
            for r in new
            if r["compensation"] == spec.compensation
        ]
        reporter.message(
            f"programming {new[0]['repeat']}/{spec.repeats}: {', '.join(told)}"
        )
    found = points(rows)
    with writing("the results", folder.path):
        write_csv(folder.path / "accuracy.csv", found, list(found[0]))
        plot_course(
            found, (reference_name(config), reference), folder.path / "accuracy.png"
        )
    last = [point for point in found if point["compensation"] == spec.compensation][-1]
    figures: dict[str, Any] = {
        "reference": reference_name(config),
        "reference_accuracy": reference,
    }
    if found_ranges:
        figures["input_ranges"] = found_ranges
    return {
        **figures,
        "accuracy": last["mean"],
        "after": last["after"],
        "points": found,
    }


def reference_name(config: Mapping[str, Any]) -> str:
    """What the accuracies are compared with: a network that was trained for tiles means nothing
    without them."""
    return "as trained, on its tiles" if lies_on_tiles(config) else "floating point"


def has_ranges(model: nn.Module) -> bool:
    """Whether any tile of a network has an input range."""
    from engine.nn import analog_tiles

    return any(
        getattr(tile.state, "input_range", None) is not None
        for tile in analog_tiles(model)
    )


def calibrated(
    model: nn.Module, config: Mapping[str, Any], x: torch.Tensor
) -> dict[str, float]:
    """Sets the input ranges of tiles that have some, as they follow from training inputs x; returns
    them by layer."""
    from engine.nn import AnalogLayer, Calibration, calibrate

    if not has_ranges(model):
        return {}
    settings = task_settings(config, Settings)
    size = int(config["dataset"].get("test_batch_size") or 500)
    how = Calibration(
        settings.calibration,
        settings.quantile,
        seed=int(config["run"]["seed"]),
        output_quantile=settings.output_quantile,
    )
    found = calibrate(model, x[: settings.calibration_samples].split(size), how)
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, AnalogLayer)
    ]
    own = {
        name: [v for tile, v in found.items() if tile.startswith(f"{name}.")]
        for name in layers
    }
    return {name: max(values) for name, values in own.items() if values}


def on_tiles(
    config: Mapping[str, Any], info: Info, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """The trained network on tiles of `config`, and the same logical weights in floating point.

    A network trained for tiles lies on them as it is; the layers of any other are mapped directly.
    """
    import torch

    from engine.experiment.build import check_names, layer_config
    from engine.experiment.tasks._trained import trained
    from engine.nn import convert_to_analog, convert_to_digital, set_exact
    from engine.tile.settings import TileSpec

    model, layers = trained(config, weights_of(config), info, device)
    check_names(config, layers)
    digital = convert_to_digital(model)
    if lies_on_tiles(config):
        return model, digital
    paths = {
        path: name
        for path, module in model.named_modules()
        for name, made in layers.items()
        if made is module
    }

    def spec(path: str, _: nn.Module) -> TileSpec | None:
        own = layer_config(config, paths.get(path, ""))
        return (
            None
            if own["algorithm"].get("name") == "digital"
            else TileSpec.from_config(own)
        )

    torch.manual_seed(int(config["run"]["seed"]))
    try:
        analog = convert_to_analog(digital, spec)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    set_exact(analog, bool(config["run"].get("exact")))
    return analog, digital
