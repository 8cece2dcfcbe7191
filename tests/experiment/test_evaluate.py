"""Evaluation: trained weights on programmed devices over time, from run folders and from files of
tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aihw_cli import evaluation
from engine.experiment.data import load_data
from engine.experiment.runs import read_record, run_folder, run_status
from engine.experiment.tasks import _course, evaluate
from engine.experiment.train import resume, train
from engine.nn import AnalogLinear, Calibration, calibrate
from engine.settings import UserError
from tests.experiment.helpers import Recorder, analog_config, small_config
from tests.experiment.helpers import run as run_training

SHORT = ["inference.times=[1s,1y]", "inference.repeats=2"]
ALL = {"train_samples": 600, "test_samples": 300}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digital run."""
    folder = tmp_path_factory.mktemp("trained")
    return run_training(small_config(folder, dataset=ALL, run={"epochs": 4}))


def configure(run: Path, *changes: str) -> dict[str, Any]:
    return evaluation.of_run(run, [*SHORT, *changes]).values


def do(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    return train(config, folder, Recorder())


def test_accuracy_over_time(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "e"
    summary = do(configure(trained), folder)
    found = {(p["after"], p["compensation"]): p for p in summary["points"]}
    assert list(found) == [
        ("1 s", "global"),
        ("1 s", "none"),
        ("1 y", "global"),
        ("1 y", "none"),
    ]
    assert (
        summary["reference_accuracy"]
        == json.loads((trained / "summary.json").read_text())["test_accuracy"]
    )
    assert summary["reference_accuracy"] - found["1 s", "global"]["mean"] < 0.05
    assert (
        found["1 y", "none"]["mean"]
        < found["1 y", "global"]["mean"]
        <= summary["reference_accuracy"] + 0.01
    )
    assert found["1 y", "global"]["std"] > 0 and found["1 y", "global"]["repeats"] == 2
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert (
        rows[0] == "repeat,time,compensation,accuracy,loss"
        and len(rows) == 1 + 2 * 2 * 2
    )
    assert (
        (folder / "accuracy.csv")
        .read_text()
        .startswith("time,after,compensation,mean,std,min,max,loss,repeats\n1.0,1 s,")
    )
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (
        read_record(folder)["task"] == "evaluate" and run_status(trained) == "finished"
    )


def test_the_same_seed_gives_the_same_and_another_one_does_not(
    trained: Path, tmp_path: Path
) -> None:
    first, again, other = (
        do(
            configure(trained, f"run.seed={seed}", f"run.threads={threads}"),
            tmp_path / name,
        )["points"]
        for name, seed, threads in (("a", 7, 1), ("b", 7, 2), ("c", 8, 1))
    )
    assert first == again and first != other


def test_an_interrupted_evaluation_goes_on_with_the_same_bits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(trained, "inference.repeats=3")
    whole = do(config, tmp_path / "whole")

    def stop_after_one(path: Path, *_: object) -> Callable[..., Any]:
        def stopped(*arguments: Any, **more: Any) -> Any:
            rows = original(*arguments, **more)
            yield next(rows)
            raise KeyboardInterrupt

        return stopped

    original = _course.course
    with monkeypatch.context() as patch:
        patch.setattr(_course, "course", stop_after_one(tmp_path))
        with pytest.raises(KeyboardInterrupt):
            do(config, tmp_path / "parts")
    assert len((tmp_path / "parts" / "metrics.csv").read_text().splitlines()) == 1 + 4
    reporter = Recorder()
    assert resume(tmp_path / "parts", reporter)["points"] == whole["points"]
    assert next(text for text in reporter.messages if "programming" in text).startswith(
        "programming 2/3"
    )


def test_folders_tell_evaluations_apart(trained: Path, tmp_path: Path) -> None:
    base = {**configure(trained), "name": "eval"}
    names = {run_folder(base).name}
    for change in (
        "inference.repeats=3",
        "inference.times=[1h]",
        "tile.forward.out_noise=0",
        "inference.noise.t_0=30",
    ):
        names.add(run_folder({**configure(trained, change), "name": "eval"}).name)
    assert len(names) == 5
    assert (
        run_folder({**configure(trained, "run.threads=2"), "name": "eval"}).name
        in names
    )


def test_pulsed_and_digital_layers_are_mapped_as_they_were_trained(
    tmp_path: Path,
) -> None:
    run = run_training(analog_config(tmp_path, run={"epochs": 1}))
    config = configure(run)
    assert config["layers"].keys() == {"fc2"} and config["device"]["model"] == "ideal"
    info = load_data(config["dataset"]).info
    model, digital = evaluate.on_tiles(config, info, torch.device("cpu"))
    layers = {
        type(m).__name__
        for m in model.modules()
        if isinstance(m, AnalogLinear | nn.Linear)
    }
    assert layers == {"AnalogLinear", "Linear"}
    analog: Any = next(m for m in model.modules() if isinstance(m, AnalogLinear))
    weight: Any = next(m for m in digital.modules() if isinstance(m, nn.Linear)).weight
    torch.testing.assert_close(analog.get_weights()[0], weight.data)
    on_tile = next(iter(analog.grid.tiles)).tile.weight
    torch.testing.assert_close(
        on_tile.abs().amax(1), torch.ones(len(on_tile))
    )  # each column takes its whole range


def test_tiles_with_input_ranges_are_calibrated_from_training_data(
    trained: Path, tmp_path: Path
) -> None:
    plain, aware = (
        configure(
            trained,
            "tile=standard_hwa",
            "tile.forward.out_bound=0.5",
            "task.calibration_samples=200",
            *more,
        )
        for more in ([], ["task.output_quantile=0.999"])
    )
    data = load_data(plain["dataset"])
    model, _ = evaluate.on_tiles(plain, data.info, torch.device("cpu"))
    wanted = calibrate(
        model, [data.train_x[:200]], Calibration(seed=plain["run"]["seed"])
    )
    first, second = do(plain, tmp_path / "a"), do(aware, tmp_path / "b")
    assert (
        list(first["input_ranges"].values()) == list(wanted.values())
        and first["reference"] == "floating point"
    )
    assert all(
        second["input_ranges"][name] >= value
        for name, value in first["input_ranges"].items()
    )
    assert second["input_ranges"] != first["input_ranges"]
    accuracies = [
        {p["compensation"]: p["mean"] for p in found["points"]}["global"]
        for found in (first, second)
    ]
    assert accuracies[0] < accuracies[1], accuracies
    assert "input_ranges" not in do(configure(trained), tmp_path / "c")


def test_a_layer_may_stay_digital(trained: Path) -> None:
    config = configure(trained, "layers={fc1:{algorithm:digital}}")
    model, _ = evaluate.on_tiles(
        config, load_data(config["dataset"]).info, torch.device("cpu")
    )
    assert sum(isinstance(m, AnalogLinear) for m in model.modules()) == 1


def test_perfect_hardware_gives_the_trained_accuracy(
    trained: Path, tmp_path: Path
) -> None:
    quiet = [
        f"inference.noise.{name}=0"
        for name in ("prog_noise_scale", "read_noise_scale", "drift_scale")
    ]
    summary = do(
        configure(trained, "tile.forward.is_perfect=true", *quiet), tmp_path / "e"
    )
    assert {p["mean"] for p in summary["points"]} == {summary["reference_accuracy"]}


def digital_net(hidden: int = 16) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, hidden), nn.Sigmoid(), nn.Linear(hidden, 10)
    )


FILE = [
    "model=mlp",
    "model.hidden=[16]",
    "dataset=digits",
    "run.device=cpu",
    "run.threads=1",
    *SHORT,
]


@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped"])
def test_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    net, path = digital_net(), tmp_path / f"net.{'pt' if kind == 'wrapped' else kind}"
    tensors = {k: v.detach().clone() for k, v in net.state_dict().items()}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(
            {"state_dict": tensors, "epoch": 3} if kind == "wrapped" else tensors, path
        )
    config = evaluation.of_file(path, FILE).values
    assert config["name"] == "eval-net"
    data = load_data(config["dataset"])
    _, digital = evaluate.on_tiles(config, data.info, torch.device("cpu"))
    torch.testing.assert_close(
        digital(data.test_x[:9]), net(data.test_x[:9]).log_softmax(1)
    )


def test_weights_that_do_not_fit_name_the_keys(tmp_path: Path) -> None:
    state = digital_net(8).state_dict()
    state["4.weight"] = state.pop("3.weight")
    torch.save(state, tmp_path / "net.pt")
    config = evaluation.of_file(tmp_path / "net.pt", FILE).values
    with pytest.raises(UserError) as caught:
        do(config, tmp_path / "e")
    text = "does not fit the model; missing: 3.weight; unexpected: 4.weight; of another shape: 1.weight 8x64 instead"
    assert text in str(caught.value) and not (tmp_path / "e").exists()


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    torch.save(digital_net(), tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("no tensors")
    for name, text in (
        ("whole.pt", "holds tensors alone"),
        ("list.pt", "is no state_dict"),
        ("text.pt", "holds tensors alone"),
        ("text.safetensors", "is no file of safetensors"),
        ("nowhere.pt", "there is no file"),
    ):
        config = evaluation.of_file(tmp_path / name, FILE).values
        with pytest.raises(UserError, match=text) as caught:
            do(config, tmp_path / "e")
        assert (
            len(str(caught.value).splitlines()) == 1 and not (tmp_path / "e").exists()
        )


def test_a_network_trained_for_tiles_is_programmed_as_it_is(tmp_path: Path) -> None:
    tile = {
        "forward": {
            "noise_management": "Constant",
            "nm_thres": 1.0,
            "bound_management": "None",
            "out_bound": 10.0,
        },
        "mapping": {"weight_scaling_omega": 1.0, "weight_scaling_columnwise": True},
        "input_range": {"enable": True},
    }
    base = small_config(tmp_path, dataset=ALL, run={"epochs": 2})
    run = run_training(
        {
            **base,
            "device": {"model": "ideal"},
            "algorithm": {"name": "hwa"},
            "tile": tile,
        }
    )
    config = configure(run, "tile.forward.out_noise=0.01")
    assert (
        config["tile"]["forward"]["nm_thres"] == 1.0
        and config["tile"]["input_range"]["enable"] is True
    )
    model, _ = evaluate.on_tiles(
        config, load_data(config["dataset"]).info, torch.device("cpu")
    )
    ranges = [
        value
        for key, value in model.state_dict().items()
        if key.endswith("input_range.value")
    ]
    assert ranges and all(
        0 < float(value) < 3 for value in ranges
    )  # learned, not the first ones
    summary = do(configure(run), tmp_path / "e")
    assert summary["reference"] == "as trained, on its tiles"
    assert (
        abs(
            summary["reference_accuracy"]
            - json.loads((run / "summary.json").read_text())["test_accuracy"]
        )
        < 0.04
    )
    assert summary["points"][0]["mean"] > 0.5
