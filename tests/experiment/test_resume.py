"""Interrupted runs: they go on with the same bits, or say in one line why they cannot."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment.runs import RunFolder, read_record, run_folder, run_status
from engine.experiment.train import resume, train
from engine.settings import UserError
from tests.experiment.helpers import (
    STEPS,
    Recorder,
    Stopper,
    analog_config,
    interrupt,
    outcome,
    run,
    small_config,
)

pytestmark = pytest.mark.usefixtures("every_step_is_reported")


def test_finished_run_is_found_again(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run(config)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for again in (lambda r: train(config, folder, r), lambda r: resume(folder, r)):
        reporter = Recorder()
        assert again(reporter)["status"] == "finished"
        assert (
            reporter.messages == [f"{folder} is finished already"]
            and not reporter.steps
        )
    assert before == {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("at", [(1, 1), (1, STEPS), (2, 4), (2, STEPS), (3, 1)])
@pytest.mark.parametrize(
    ("make", "every"), [(small_config, 0), (small_config, 3), (analog_config, 3)]
)
def test_interrupted_run_resumes_to_the_same_bits(
    tmp_path: Path, make: Callable[..., dict[str, Any]], at: tuple[int, int], every: int
) -> None:
    reference = outcome(run(make(tmp_path / "reference")))
    config = make(tmp_path / "stopped", run={"checkpoint_every": every})
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper(at, interrupt))
    assert (
        run_status(folder) == "interrupted"
        and read_record(folder)["status"] == "interrupted"
    )
    torch.rand(5)
    reporter = Recorder()
    summary = resume(folder, reporter)
    assert summary["status"] == "finished" and summary["samples"] == 285
    assert outcome(folder) == reference
    expected = (at[0], at[1] + 1) if at[1] < STEPS else (at[0] + 1, 1)
    assert reporter.steps[0] == expected, "goes on with the next step, repeats none"


def test_a_deleted_checkpoint_costs_time_only(tmp_path: Path) -> None:
    reference = outcome(run(small_config(tmp_path / "reference")))
    config = small_config(tmp_path / "stopped")
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((3, 1), interrupt))
    shutil.rmtree(folder / "checkpoint")
    reporter = Recorder()
    resume(folder, reporter)
    assert reporter.messages[0].endswith(
        "has no checkpoint any more: its training starts anew and repeats every bit"
    )
    assert outcome(folder) == reference


def test_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)

    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((2, 4), twice))
    assert run_status(folder) == "interrupted"
    reporter = Recorder()
    resume(folder, reporter)
    assert reporter.steps[0] == (2, 1)
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))


def test_interrupt_at_the_very_end_is_a_finished_run(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    assert train(config, folder, Stopper((3, STEPS), interrupt))["status"] == "finished"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    run(small_config(tmp_path))
    assert before == [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_leaves_a_checkpoint(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = small_config(tmp_path / "stopped")
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((2, 4), lambda: os.kill(os.getpid(), number)))
    assert run_status(folder) == "interrupted"
    reporter = Recorder()
    resume(folder, reporter)
    assert reporter.steps[0] == (2, 5)
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))


def test_a_run_goes_on_when_its_terminal_closes_if_that_is_ignored(
    tmp_path: Path,
) -> None:
    config = small_config(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hangup = Stopper((2, 4), lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert train(config, run_folder(config), hangup)["status"] == "finished"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    config = small_config(tmp_path, run={"checkpoint_every": 13})
    folder = run_folder(config)

    class Stop(BaseException):
        pass

    def die() -> None:
        raise Stop

    with pytest.raises(Stop):
        train(config, folder, Stopper((3, 4), die))
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3
    lines: list[int] = []
    reporter = Stopper(
        (1, 1),
        lambda: lines.append(len((folder / "metrics.csv").read_text().splitlines())),
    )
    resume(folder, reporter)
    assert lines == [2] and [row["epoch"] for row in reporter.rows] == [2, 3]
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))


def test_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((3, 4), interrupt))
    newest = sorted((folder / "checkpoint").iterdir())[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    reporter = Recorder()
    resume(folder, reporter)
    assert any(
        "is not used" in line and str(newest.parent) in line
        for line in reporter.messages
    )
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))


def test_only_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((3, 4), interrupt))
    for path in (folder / "checkpoint").rglob("*.safetensors"):
        path.write_bytes(b"")
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    with pytest.raises(UserError, match="no usable checkpoint"):
        resume(folder, Recorder())
    assert before == {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    folders = []
    for seed in (1, 2):
        config = small_config(tmp_path, run={"seed": seed})
        folders.append(run_folder(config))
        with pytest.raises(KeyboardInterrupt):
            train(config, folders[-1], Stopper((2, 4), interrupt))
    for path in (folders[0] / "checkpoint").rglob("*"):
        if path.is_file():
            (folders[1] / path.relative_to(folders[0])).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="belongs to another run"):
        resume(folders[1], Recorder())


def test_changed_configuration_is_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((2, 4), interrupt))
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.05", "lr: 0.06"))
    with pytest.raises(UserError, match=r"its config\.yaml changed since it began"):
        resume(folder, Recorder())


def test_run_in_use_is_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    with (
        RunFolder.create(folder, config),
        pytest.raises(UserError, match="in use by process"),
    ):
        train(config, folder, Recorder())


def test_run_that_died_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    folder = run_folder(config)
    RunFolder.create(folder, config).__exit__()
    resume(folder, Recorder())
    assert outcome(folder) == outcome(run(small_config(tmp_path / "reference")))
