"""Sixty points on the digits: speed of two at a time, cost of the parent, kill -9 in the middle,
five failures."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.sweeps.test_schedule import progress, started, tables
from tests.cli.sweeps.waiting import wait_for
from tests.cli.test_train import ENVIRONMENT

pytestmark = pytest.mark.slow

RATES = ",".join(f"{0.01 * n:.2f}" for n in range(1, 13))
STEPS = "device.dw_min=0.001,0.002,0.003,0.004,0.005"
SIXTY = ("train", "-m", f"optimizer.lr={RATES}", STEPS, "run.epochs=8")


def run(place: Path, *words: str) -> tuple[float, float]:
    """Wall time of a sweep, and the processor time of its parent alone: it waits for none of the
    runs itself."""
    place.mkdir()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "aihw_cli", *SIXTY, *words]
    subprocess.run(command, cwd=place, env=ENVIRONMENT, check=True, capture_output=True)
    wall, after = (
        time.perf_counter() - start,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_two_at_a_time_and_the_cost_of_the_parent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single, _ = run(folder / "one", "--jobs", "1")
    double, parent = run(folder / "two", "--jobs", "2")
    summaries = [
        json.loads(path.read_text())
        for path in folder.glob("two/runs/digits/*/summary.json")
    ]
    children = sum(summary["seconds"] for summary in summaries)
    with capsys.disabled():
        print(
            f"\n60 points: {single:.1f} s one at a time, {double:.1f} s two at a time ({single / double:.2f} times)"
        )
        print(
            f"parent {parent:.2f} s of processor time, runs {children:.1f} s: {parent / children:.1%}"
        )
    assert len(summaries) == 60 and parent < 0.05 * children
    assert single > 1.7 * double


def test_killed_in_the_middle_and_resumed(aihw, folder: Path) -> None:
    run(folder / "calm", "--jobs", "2")
    with started(*SIXTY, "--jobs", "2") as process:
        wait_for(
            lambda: len(list(folder.glob("runs/digits/*/summary.json"))) >= 25, process
        )
        process.kill()
        for facts in progress(folder):
            if facts["epoch"] < facts["epochs"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(facts["pid"], signal.SIGKILL)
    place = next(folder.glob("runs/digits/sweep-*"))
    assert aihw("resume", str(place.relative_to(folder)), "--jobs", "2").code == 0
    assert tables(place) == tables(next((folder / "calm").glob("runs/digits/sweep-*")))


def test_five_failures_among_sixty(aihw, folder: Path) -> None:
    """A twelfth of the points asks for more samples than there are."""
    samples = ",".join(str(n) for n in (*range(100, 1200, 100), 5000))
    result = aihw(
        "train",
        "-m",
        f"dataset.train_samples={samples}",
        STEPS,
        "run.epochs=1",
        "--jobs",
        "2",
        "--json",
    )
    told = json.loads(result.out)
    assert result.code == 1 and "5 of 60 runs failed" in result.err
    assert [point["runs"] for point in told["points"]].count("1/1") == 55
    assert len(told["failed"]) == 5 and all(
        "digits has 1442" in Path(f["log"]).read_text() for f in told["failed"]
    )
