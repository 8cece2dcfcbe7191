"""kill -9 at any moment, then resume: the same weights and metrics as the run that nobody
killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engine.experiment.runs import read_record, run_folder, run_status
from tests.experiment.helpers import analog_config, outcome, process_for, small_config

EPOCHS = 6
KILLS = 20


def config_in(folder: Path, kind: str) -> dict[str, Any]:
    """So many checkpoints that a good part of the time goes into writing them."""
    changes = {
        "run": {"epochs": EPOCHS, "checkpoint_every": 5},
        "dataset": {"train_samples": 400},
    }
    return (
        analog_config(folder, **changes)
        if kind == "analog"
        else small_config(folder, **changes)
    )


def seconds_of(config: dict[str, Any], folder: Path) -> float:
    begin = time.perf_counter()
    process = process_for(config, folder)
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - begin


def reference_in(folder: Path, kind: str) -> tuple[Any, float]:
    """What the undisturbed run gives, and the seconds that it takes."""
    process = process_for(config_in(folder / "warm", kind), folder / "warm")
    process.start()  # starts the server as well
    process.kill()
    process.join()
    config = config_in(folder / "reference", kind)
    whole = seconds_of(config, run_folder(config))
    return outcome(run_folder(config)), whole


# File operations before which a process dies, one process after the other: while the folder is
# made, between two checkpoints, while a checkpoint is written and renamed, and once more at once.
MOMENTS = {"digital": (2, 61, 140, 3), "analog": (1, 64, 139, 7)}


@pytest.mark.parametrize("kind", MOMENTS)
def test_killed_run_resumes_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    reference, _ = reference_in(tmp_path, kind)
    config = config_in(tmp_path / "run", kind)
    target = run_folder(config)
    for moment in MOMENTS[kind]:
        process = process_for(config, target, dies_at=moment)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended before its moment came"
        assert run_status(target) in ("absent", "interrupted")
    seconds_of(config, target)
    assert read_record(target)["status"] == "finished"
    assert outcome(target) == reference


@pytest.mark.slow
@pytest.mark.parametrize("kind", MOMENTS)
def test_killed_twenty_times_at_random_moments(tmp_path: Path, kind: str) -> None:
    draw = random.Random(2)
    reference, whole = reference_in(tmp_path, kind)
    done, number = 0, 0
    while done < KILLS:
        number += 1
        config = config_in(tmp_path / f"run-{number}", kind)
        target = run_folder(config)
        while done < KILLS:
            process = process_for(config, target)
            process.start()
            process.join(draw.uniform(0.0, 0.6 * whole))
            process.kill()
            process.join()
            # A process may be killed when its run is finished and only its own end is left.
            if process.exitcode == 0 or run_status(target) == "finished":
                break
            assert process.exitcode == -signal.SIGKILL
            done += 1
            assert run_status(target) in ("absent", "interrupted")
        seconds_of(config, target)
        assert run_status(target) == read_record(target)["status"] == "finished"
        assert outcome(target) == reference, f"run {number}"
