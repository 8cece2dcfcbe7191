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


def config_in(folder: Path, kind: str) -> dict[str, Any]:
    """So many checkpoints that a good part of the time goes into writing them."""
    changes = {"run": {"epochs": EPOCHS, "checkpoint_every": 5}, "dataset": {"train_samples": 400}}
    return analog_config(folder, **changes) if kind == "analog" else small_config(folder, **changes)


def seconds_of(config: dict[str, Any], folder: Path) -> float:
    begin = time.perf_counter()
    process = process_for(config, folder)
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - begin


def kill_and_resume(folder: Path, kind: str, *, kills: int, seed: int) -> None:
    """Kill processes at random moments, `kills` times while they are alive, and compare what comes
    of it."""
    draw = random.Random(seed)
    reference_folder = run_folder(config_in(folder / "reference", kind))
    process = process_for(config_in(folder / "warm", kind), folder / "warm")
    process.start()  # starts the server as well
    process.kill()
    process.join()
    whole = seconds_of(config_in(folder / "reference", kind), reference_folder)
    reference = outcome(reference_folder)
    done, number = 0, 0
    while done < kills:
        number += 1
        config = config_in(folder / f"run-{number}", kind)
        target = run_folder(config)
        while done < kills:
            process = process_for(config, target)
            process.start()
            process.join(draw.uniform(0.0, 0.6 * whole))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break  # it was faster than the kill
            assert process.exitcode == -signal.SIGKILL
            done += 1
            assert run_status(target) in ("absent", "interrupted")
        seconds_of(config, target)
        assert run_status(target) == "finished"
        assert outcome(target) == reference, f"run {number}, seed {seed}"
        assert read_record(target)["status"] == "finished"


@pytest.mark.parametrize("kind", ["digital", "analog"])
def test_killed_run_resumes_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    kill_and_resume(tmp_path, kind, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digital", "analog"])
def test_killed_twenty_times(tmp_path: Path, kind: str) -> None:
    kill_and_resume(tmp_path, kind, kills=20, seed=2)
