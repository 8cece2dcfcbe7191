"""Training in a run folder: results, repeatability, and what can go wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment.loop import Loop
from engine.experiment.runs import run_folder, run_status
from engine.experiment.train import resume, train
from engine.settings import ROOT, UserError
from engine.trust import files
from tests.experiment.helpers import (
    STEPS,
    Recorder,
    Stopper,
    analog_config,
    outcome,
    run,
    small_config,
)

pytestmark = pytest.mark.usefixtures("every_step_is_reported")


def test_run_leaves_its_results(tmp_path: Path) -> None:
    config = small_config(
        tmp_path, run={"epochs": 8}, dataset={"train_samples": 400, "test_samples": 0}
    )
    reporter = Recorder()
    folder = run(config, reporter)
    summary = json.loads((folder / "summary.json").read_text())
    assert (
        summary["status"] == "finished"
        and summary["epochs"] == 8
        and summary["samples"] == 3200
    )
    assert (
        summary["seed"] == 7
        and summary["samples_per_second"] > 0
        and summary["seconds"] > 0
    )
    assert summary == reporter.summary
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    assert float(rows[-1]["test_accuracy"]) == summary["test_accuracy"] > 0.8
    assert summary["best_test_accuracy"] == max(
        float(row["test_accuracy"]) for row in rows
    )
    assert (
        float(rows[0]["lr"]) == 0.05
        and float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"]) / 2
    )
    assert (
        len(reporter.rows) == 8
        and reporter.steps_per_epoch == 40
        and len(reporter.steps) == 320
    )
    assert run_status(folder) == "finished"
    expected = {
        "checkpoint",
        "config.yaml",
        "lock",
        "log.txt",
        "metrics.csv",
        "run.json",
        "summary.json",
    }
    assert {path.name for path in folder.iterdir()} == expected


def test_loss_in_the_metrics_is_per_sample_whatever_the_reduction(
    tmp_path: Path,
) -> None:
    rows = []
    for reduction, lr in (("sum", 0.01), ("mean", 0.1)):
        config = small_config(tmp_path, loss={"reduction": reduction}, optimizer={"lr": lr, "momentum": 0},
                              dataset={"train_samples": 100}, run={"epochs": 1})  # fmt: skip
        rows.append(outcome(run(config))[1][1].split(","))
    assert [float(v) for v in rows[0][2:]] == pytest.approx(
        [float(v) for v in rows[1][2:]], rel=1e-4
    )


def test_evaluation_is_over_the_whole_test_set(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    values = []
    for size in (1, 7, 50):
        loop = Loop(
            {**config, "dataset": {**config["dataset"], "test_batch_size": size}}
        )
        values.append(loop.evaluate())
        with torch.no_grad():
            output = loop.model(loop.data.test_x)
        expected = torch.nn.functional.nll_loss(output, loop.data.test_y).item()
        assert values[-1][0] == pytest.approx(expected, rel=1e-5)
        assert (
            values[-1][1]
            == (output.argmax(1) == loop.data.test_y).double().mean().item()
        )


def test_samples_without_shuffling_come_in_order(tmp_path: Path) -> None:
    loop = Loop(small_config(tmp_path, dataset={"shuffle": False}))
    assert loop._order().tolist() == list(range(95))


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    loop = Loop(small_config(tmp_path))
    first = loop._order()
    assert sorted(first.tolist()) == list(range(95))
    loop.place.epoch = 1
    assert not torch.equal(first, loop._order())


def test_training_and_evaluation_use_their_own_noise(tmp_path: Path) -> None:
    loop = Loop(analog_config(tmp_path))
    modes: list[bool] = []
    loop.model.register_forward_pre_hook(
        lambda module, _: modes.append(module.training)
    )
    for _ in range(2):
        modes.clear()
        assert len(list(loop.steps())) == STEPS and modes == [True] * STEPS
        modes.clear()
        loop.end_epoch(0.0)
        assert modes == [False]


@pytest.mark.parametrize("make", [small_config, analog_config])
def test_same_run_twice_gives_the_same_bits(
    tmp_path: Path, make: Callable[..., dict[str, Any]]
) -> None:
    a, b = (outcome(run(make(tmp_path / at))) for at in "ab")
    assert a == b
    c = outcome(run(make(tmp_path / "c", run={"seed": 8})))
    assert a[0] != c[0] and a[1] != c[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"name": "mnist", "root": "nowhere"}},
        {"model": {"activation": "tan"}},
        {"loss": {"name": "nnl"}},
        {"layers": {"fc9": {"algorithm": "digital"}}},
    ],
)
def test_wrong_input_leaves_no_folder(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        train(
            small_config(tmp_path / "runs", **changes),
            tmp_path / "runs" / "x" / "y",
            Recorder(),
        )
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.device=cuda"):
        run(small_config(tmp_path, run={"device": "cuda"}))


def test_full_disk_while_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    real = files.write_new

    def write(path: Path, content: bytes, **more: bool) -> None:
        if "000002" in path.parent.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content, **more)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_new", write)
        with pytest.raises(
            UserError,
            match=r"cannot write the checkpoint in .*: No space left on device",
        ) as caught:
            train(config, folder, Recorder())
    assert len(str(caught.value).splitlines()) == 1
    assert (
        run_status(folder) == "failed"
        and "No space left" in (folder / "log.txt").read_text()
    )
    assert not [path for path in folder.rglob("*") if "unfinished" in path.name]
    resume(folder, Recorder())
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))


def test_failure_is_recorded_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)

    def fail() -> None:
        raise RuntimeError("a device burnt down")

    with pytest.raises(RuntimeError, match="burnt down"):
        train(config, folder, Stopper((2, 4), fail))
    assert (
        run_status(folder) == "failed"
        and "a device burnt down" in (folder / "log.txt").read_text()
    )


@pytest.mark.parametrize("every", [0, 3])
def test_diverged_run_ends_early_and_says_so(tmp_path: Path, every: int) -> None:
    config = small_config(tmp_path, loss={"name": "mse"}, model={"activation": "relu"},
                          optimizer={"lr": 1e6}, run={"checkpoint_every": every})  # fmt: skip
    reporter = Recorder()
    folder = run(config, reporter)
    text = (folder / "summary.json").read_text()
    summary = json.loads(
        text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert (
        summary["status"] == "diverged"
        and summary["epochs"] == 1
        and summary["test_loss"] is None
    )
    assert 0 <= summary["test_accuracy"] <= 0.3
    assert not math.isfinite(
        float((folder / "metrics.csv").read_text().splitlines()[1].split(",")[2])
    )
    assert run_status(folder) == "diverged"
    again = Recorder()
    assert resume(folder, again)["status"] == "diverged" and not again.steps


def test_collapsed_run_goes_on_to_its_end(tmp_path: Path) -> None:
    folder = run(small_config(tmp_path, optimizer={"lr": 0.0}))
    summary = json.loads((folder / "summary.json").read_text())
    assert (
        summary["status"] == "finished"
        and summary["epochs"] == 3
        and summary["test_accuracy"] < 0.3
    )


def test_analog_network_learns_without_torchs_compiler(tmp_path: Path) -> None:
    """The import of torch._dynamo, which torch's own optimizers cause, takes more than a second."""
    code = (
        "import sys, pathlib; from tests.experiment.helpers import Recorder, analog_config; "
        "from engine.experiment.train import train; folder = pathlib.Path(sys.argv[1]); "
        "config = analog_config(folder, run={'epochs': 1}); summary = train(config, folder / 'x' / 'run', Recorder()); "
        "print([m for m in ('torch._dynamo', 'torchvision', 'sklearn', 'cupy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_exact_run_is_the_same_at_any_number_of_threads(tmp_path: Path) -> None:
    """On batches so large that torch would cut the activations differently for each number of
    threads."""
    results = []
    for threads in (1, 2, 3):
        config = analog_config(
            tmp_path / str(threads),
            run={"epochs": 2, "threads": threads, "exact": True},
            dataset={"train_samples": 1420, "batch_size": 355},
            optimizer={"lr": 0.001},
            model={"hidden": [301]},
        )
        results.append(outcome(run(config)))
    assert results[0] == results[1] == results[2]


def test_importing_the_trainer_is_light() -> None:
    code = (
        "import sys, engine.experiment.train, engine.experiment.runs; "
        "print([m for m in ('torch', 'numpy', 'yaml', 'hydra', 'torchvision', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
