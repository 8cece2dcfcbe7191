"""Sweeps and seeds: which points, one process each, what becomes of failures, the table."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aihw_cli import overrides, sweep, table
from engine.settings import UserError
from tests.cli.conftest import write

# Floating point on a few samples: the parts under test are around the training.
QUICK = ("algorithm=digital", "dataset.train_samples=40", "dataset.test_samples=20", "run.epochs=1", "run.threads=1")


def test_points_are_the_product_in_order() -> None:
    points = overrides.expand(["device=ecram,capacitor", "run.epochs=2", "optimizer.lr=choice(0.1,0.2)"])
    assert points == [
        [f"device={device}", "run.epochs=2", f"optimizer.lr={lr}"]
        for device in ("ecram", "capacitor")
        for lr in (0.1, 0.2)
    ]


@pytest.mark.parametrize(
    "text, values",
    [
        ("a=range(1,4)", ["1", "2", "3"]),
        ("a=range(0,1,0.5)", ["0.0", "0.5"]),
        ("a=[1,2],[3]", ["[1,2]", "[3]"]),
        ("a='x y','z'", ["'x y'", "'z'"]),
        ("device=glob(reram_array_*)", ["reram_array_hfo2", "reram_array_om"]),
        ("device=glob([gok*,reram_array_*],exclude=*_om)", ["gokmen_vlasov", "reram_array_hfo2"]),
    ],
)
def test_the_grammar_of_a_sweep(text: str, values: list[str]) -> None:
    key = text.partition("=")[0]
    assert overrides.expand([text]) == [[f"{key}={value}"] for value in values]
    assert overrides.swept_keys([text, "b=1"]) == [key]


def test_plan_has_every_seed_of_every_point() -> None:
    planned = sweep.plan(["optimizer.lr=0.1,0.2", "seeds=2", "run.seed=5"], multirun=True, flags=[], again=False)
    assert planned.points == [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.2"}]
    assert [(job.point, job.seed) for job in planned.jobs] == [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert planned.jobs[3].overrides[-2:] == ["run.seed=6", "seeds=1"]
    same = sweep.plan(["optimizer.lr=0.1,0.2", "seeds=2", "run.seed=5"], multirun=True, flags=[], again=False)
    other = sweep.plan(["optimizer.lr=0.1,0.3", "seeds=2", "run.seed=5"], multirun=True, flags=[], again=False)
    assert planned.folder == same.folder != other.folder


def test_statistics_over_seeds() -> None:
    mean, spread, half = table.statistics_of([0.9, 0.92, 0.94])
    assert (mean, spread) == (pytest.approx(0.92), pytest.approx(0.02))
    assert half == pytest.approx(4.303 * 0.02 / math.sqrt(3))
    assert table.statistics_of([0.5])[0] == 0.5 and math.isnan(table.statistics_of([0.5])[2])
    assert math.isnan(table.statistics_of([])[0])


def test_table_is_sorted_and_leaves_gaps_empty() -> None:
    summaries = {"a": [0.8, 0.9], "b": [], "c": [0.95]}
    rows = [
        table.point_row({"device": name}, [{"test_accuracy": v, "seconds": 1.0} for v in values], 2)
        for name, values in summaries.items()
    ]
    best = table.best_first(rows)
    assert [row["device"] for row in best] == ["c", "a", "b"]
    read = list(csv.DictReader(io.StringIO(table.as_csv(best))))
    assert (read[0]["std"], read[1]["runs"], read[2]["test_accuracy"]) == ("", "2/2", "")
    assert "0.8500" in table.as_text(best) and "0/2" in table.as_text(best)


def test_a_sweep_runs_all_points_even_if_one_fails(aihw, folder: Path) -> None:
    """The point with more samples than there are fails in its own process; the other one is not touched by it."""
    words = ("train", *QUICK[:1], *QUICK[2:], "-m", "dataset.train_samples=5000,40")
    result = aihw(*words, "--json")
    assert result.code == 1
    told = json.loads(result.out)
    assert [row["runs"] for row in told["points"]] == ["1/1", "0/1"]
    assert told["points"][0]["std"] is None and told["points"][1]["test_accuracy"] is None
    place = folder / told["folder"]
    manifest = json.loads((place / "sweep.json").read_text())
    assert [job["status"] for job in manifest["jobs"]] == ["failed", "finished"]
    done = manifest["jobs"][1]
    assert json.loads((folder / done["folder"] / "summary.json").read_text()).items() >= done["summary"].items()
    assert "digits has 1442" in (place / "logs/000-1.txt").read_text()
    assert len((place / "table.csv").read_text().splitlines()) == 3
    again = aihw("resume", told["folder"])
    assert again.code == 1 and "1 of 2 runs to do" in again.out


def test_seeds_without_a_sweep_and_the_same_command_again(aihw, folder: Path) -> None:
    first = aihw("train", *QUICK, "seeds=2")
    assert first.code == 0 and "ci95" in first.out and "\x1b" not in first.out
    second = aihw("train", *QUICK, "seeds=2")
    assert "0 of 2 runs to do" in second.out
    assert second.out.splitlines()[1:] == first.out.splitlines()[3:]


def test_a_damaged_manifest_is_refused(aihw, folder: Path) -> None:
    write(folder / "runs/x/sweep.json", '{"format": 1, "jobs": [{"x": 1}]}')
    result = aihw("resume", "runs/x")
    assert result.code == 2 and "sweep.json" in result.err
    write(folder / "runs/x/sweep.json", '{"format": 99}')
    assert "newer version" in aihw("resume", "runs/x").err


def test_a_sweep_folder_in_use_is_refused(folder: Path) -> None:
    from filelock import FileLock

    planned = sweep.plan([*QUICK, "seeds=2"], multirun=False, flags=[], again=False)
    planned.folder.mkdir(parents=True)
    with FileLock(planned.folder / "lock"), pytest.raises(UserError, match="in use"):
        sweep.run(planned, print)


def test_interrupt_reaches_the_run_and_says_how_to_go_on(folder: Path) -> None:
    """Only the sweep's own process gets the signal; its run must still write a checkpoint."""
    words = ("train", *QUICK[:1], *QUICK[3:], "run.epochs=100000", "-m", "optimizer.lr=0.1,0.2")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "aihw_cli", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        wait_for(lambda: any("epoch 1/" in p.read_text() for p in folder.glob("runs/digits/*/logs/*.txt")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    place = next(folder.glob("runs/digits/sweep-*"))
    assert process.returncode == 130 and err == ""
    assert out.splitlines()[-1] == f"interrupted; go on with: aihw resume {place.relative_to(folder)}"
    jobs = json.loads((place / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["interrupted", "waiting"]
    assert f"aihw resume {jobs[0]['folder']}" in (place / "logs/000-1.txt").read_text()
    assert list((folder / jobs[0]["folder"] / "checkpoint").iterdir())


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
