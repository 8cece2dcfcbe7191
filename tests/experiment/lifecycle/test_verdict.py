"""Runs that learned nothing say so: diverged ones, those at chance, and those whose settings cannot
work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.main import main
from engine.experiment.lifecycle.verdict import Outcome, divergence, judge
from engine.experiment.runs import read_summary, run_folder
from engine.experiment.train import train
from tests.experiment.helpers import Recorder, analog_config, run, small_config


def row(epoch: int, train: float, test: float, accuracy: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": train,
        "test_loss": test,
        "test_accuracy": accuracy,
    }


GOOD = Outcome([row(1, 1.0, 1.1, 0.7), row(2, 0.5, 0.6, 0.9)], 2.3, 10, 0.1, 1000, 100)
CONFIG = {
    "loss": {"name": "nll"},
    "optimizer": {"lr": 0.1},
    "run": {"epochs": 2},
    "algorithm": {"name": "sgd"},
    "tile": {"update": {"desired_bl": 31}},
    "device": {"model": "constant_step", "dw_min": 0.001, "w_max": 0.6, "w_min": -0.6},
}
INF, NAN = float("inf"), float("nan")


def ending(first: float = 1.0, **last: float) -> Outcome:
    """A training of two epochs with the training loss `first` after the first one."""
    values = {"train": 0.5, "test": 0.6, "accuracy": 0.9, **last}
    return replace(GOOD, rows=[row(1, first, 1.1, 0.7), row(2, **values)])


DIVERGED = {
    "an infinite loss": (ending(train=INF), "loss is inf after epoch 2"),
    "an undefined loss": (ending(train=NAN), "loss is nan after epoch 2"),
    "an infinite test loss": (ending(test=INF), "test loss is inf after epoch 2"),
    "infinite weights": (replace(GOOD, finite=False), "weights are infinite or undefined after epoch 2"),
    "a loss far above the start": (ending(train=1.8e32), r"train loss is 1.8e+32 after epoch 2, 2.3 at its start"),
    "a test loss far above it": (ending(test=233.0, accuracy=0.1), "test loss is 233 after epoch 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIVERGED)
def test_what_counts_as_diverged(name: str) -> None:
    outcome, reason = DIVERGED[name]
    verdict = judge(CONFIG, outcome, ["conf=mine", "optimizer.lr=0.1"])
    assert verdict.status == "diverged" and verdict.reason.startswith(reason)
    assert verdict.notes == [
        "lower optimizer.lr: aihw train conf=mine optimizer.lr=0.01"
    ]


def test_what_is_no_divergence() -> None:
    assert divergence(CONFIG, GOOD) == ""
    # A network that is wrong with certainty where it is wrong has nevertheless learned.
    assert divergence(CONFIG, ending(test=40.0, accuracy=0.8)) == ""
    # The loss of the first step may be large by itself, as with mse or large inputs.
    large = replace(ending(train=300.0), start_loss=100.0)
    assert divergence(CONFIG, large) == ""
    assert judge(CONFIG, GOOD).notes == []


NOTES = {
    "chance, and flat": (ending(2.3, train=2.3, accuracy=0.11), "nothing was learned", "optimizer.lr=0.5"),
    "chance, and falling": (ending(2.3, train=2.0, accuracy=0.12), "but the loss falls", "run.epochs=6"),
    "chance, and growing": (ending(train=4.0, accuracy=0.09), "nothing was learned", "optimizer.lr=0.01"),
    "growing": (ending(train=1.9), "the training loss grew from 1 after epoch 1 to 1.9", "optimizer.lr=0.0333"),
    "no tile": (replace(GOOD, tiles=0), "no layer lies on tiles, though algorithm is sgd", "layers={}"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_what_is_noted(name: str) -> None:
    outcome, text, change = NOTES[name]
    (note,) = judge(CONFIG, outcome).notes
    assert text in note and note.endswith(f"; try {change}")


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (
            {"dw_min": 5.0},
            "device.dw_min=5 is more than half of the range of a weight (1.2)",
        ),
        (
            {"dw_min": 1e-30},
            "all pulses of the training together move a weight by 3.1e-27 at most",
        ),
    ],
)
def test_steps_that_do_not_fit_the_range_are_noted(
    device: dict[str, float], text: str
) -> None:
    config = {**CONFIG, "device": {**CONFIG["device"], **device}}
    notes = judge(config, ending(train=2.3, accuracy=0.1), ["device.dw_min=5"]).notes
    assert notes[
        0
    ] == f"{text}, its range is 1.2; try aihw train device.dw_min=0.0012".replace(
        ", its range is 1.2" if device["dw_min"] > 1 else "\0", ""
    )
    assert "try" not in notes[1], "one change is proposed"
    fast = {
        "name": "tiki_taka",
        "fast": {"model": "x", "dw_min": 1.0, "w_max": 0.5, "w_min": -0.5},
    }
    assert (
        "algorithm.fast.dw_min=1" in judge({**CONFIG, "algorithm": fast}, GOOD).notes[0]
    )


# --- whole runs -----------------------------------------------------------------------------------


def test_weights_that_overflow_in_the_last_step_are_a_divergence(
    tmp_path: Path,
) -> None:
    config = small_config(
        tmp_path,
        dataset={"batch_size": 1000},
        optimizer={"lr": 1e38, "schedule": {"name": "constant"}},
        run={"epochs": 1},
    )
    folder = run(config)
    summary = read_summary(folder)
    assert summary["status"] == "diverged" and summary["test_loss"] is None
    assert summary["reason"] == "test loss is nan after epoch 1"
    assert json.loads((folder / "run.json").read_text())["status"] == "diverged"


def test_bounded_weights_diverge_by_their_loss(tmp_path: Path) -> None:
    reporter = Recorder()
    config = analog_config(tmp_path, optimizer={"lr": 1e6})
    summary = train(config, run_folder(config), reporter)
    assert summary["status"] == "diverged" and "at its start" in summary["reason"]


def test_a_run_that_learned_nothing_says_so_at_its_end(tmp_path: Path) -> None:
    config = small_config(tmp_path, optimizer={"lr": 1e-9})
    summary = train(config, run_folder(config), Recorder())
    assert summary["status"] == "finished"
    assert "nothing was learned" in summary["notes"][0]
    assert read_summary(run_folder(config))["notes"] == summary["notes"]
    again = Recorder()
    train(config, run_folder(config), again)
    assert f"note: {summary['notes'][0]}" in again.messages


def test_the_command_to_try_is_the_one_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["algorithm=digital", "optimizer.lr=1e30", "run.epochs=1", "run.threads=1"]
    assert main(["train", *words]) == 1
    found = capsys.readouterr()
    assert (
        "note: lower optimizer.lr: aihw train algorithm=digital optimizer.lr=0.1 "
        in found.out
    )
    assert found.err.startswith("training diverged (train loss is ")
    (record,) = Path("runs/digits").glob("*/run.json")
    assert json.loads(record.read_text())["command"] == words


def test_a_resumed_run_is_judged_by_its_first_step(tmp_path: Path) -> None:
    from engine.experiment.loop import Loop

    loop = Loop(small_config(tmp_path))
    for number, _ in enumerate(loop.steps()):
        if number == 3:
            break
    start, again = loop.place.start_loss, Loop(small_config(tmp_path))
    assert start is not None and 1.5 < start < 4.0, "of one sample, not of a batch"
    again.load(loop.tensors(), json.loads(json.dumps(loop.state())))
    assert again.place.start_loss == start


class Steps(Recorder):
    """Keeps the losses of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        self.losses.append(loss)


@pytest.mark.usefixtures("every_step_is_reported")
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_live_loss_is_that_of_one_sample(tmp_path: Path, reduction: str) -> None:
    """The last batch of an epoch is smaller than the others."""
    config = small_config(
        tmp_path,
        loss={"reduction": reduction},
        optimizer={"lr": 0.0},
        run={"epochs": 1},
    )
    reporter = Steps()
    train(config, run_folder(config), reporter)
    sizes = [10] * 9 + [5]
    mean = (
        sum(loss * size for loss, size in zip(reporter.losses, sizes, strict=True)) / 95
    )
    assert mean == pytest.approx(reporter.rows[0]["train_loss"], rel=1e-6)
