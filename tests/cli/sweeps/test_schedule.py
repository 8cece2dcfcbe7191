"""Sweeps as a user runs them: several processes, failures, crashes, interrupts, two sweeps at a
time, what is told."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.settings import use_gpu
from tests.cli.sweeps.waiting import wait_for
from tests.cli.test_train import ENVIRONMENT, on_a_terminal

# Floating point on a few samples: the parts under test are around the training.
FEW = (
    "algorithm=digital",
    "dataset.train_samples=40",
    "dataset.test_samples=20",
    "run.threads=1",
)
QUICK = (*FEW, "run.epochs=1")
LONG = (*FEW, "run.epochs=40")
THREE = (*LONG, "-m", "optimizer.lr=0.1,0.2,0.3", "--jobs", "2")
TIMES = {"seconds", "attempts"}


@contextmanager
def started(*words: str, place: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command line in a process of its own, in the current folder."""
    command = [sys.executable, "-m", "aihw_cli", *words]
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=place, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def progress(folder: Path) -> list[dict[str, Any]]:
    """What the runs of all sweeps told last."""
    return [
        json.loads(path.read_text()) for path in folder.glob("runs/*/*/progress/*.json")
    ]


def under_way(folder: Path, number: int) -> Callable[[], bool]:
    """Whether that many runs have reached their second epoch."""
    return lambda: (
        len([facts for facts in progress(folder) if facts.get("epoch", 0) >= 2])
        >= number
    )


def tables(place: Path) -> list[list[dict[str, str]]]:
    """table.csv and runs.csv of a sweep, without times."""
    found = []
    for name in ("table.csv", "runs.csv"):
        rows = csv.DictReader((place / name).read_text().splitlines())
        found.append([{k: v for k, v in row.items() if k not in TIMES} for row in rows])
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, str]]]:
    """The tables of the sweep THREE when nobody disturbs it."""
    place = tmp_path_factory.mktemp("calm")
    with started("train", *THREE, place=place) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return tables(next(place.glob("runs/*/sweep-*")))


def test_failed_points_stop_no_others_and_are_named(aihw, folder: Path) -> None:
    """Points with more samples than there are fail in their own process."""
    words = (
        "train",
        "-m",
        *FEW[:1],
        *FEW[2:],
        "run.epochs=1",
        "dataset.train_samples=5000,40",
        "run.seed=1,2",
    )
    result = aihw(*words, "--jobs", "2", "--json")
    assert result.code == 1
    told = json.loads(result.out)
    assert [row["runs"] for row in told["points"]] == ["1/1", "1/1", "0/1", "0/1"]
    assert (
        told["points"][0]["std"] is None and told["points"][3]["test_accuracy"] is None
    )
    place = folder / told["folder"]
    logs = [f"{told['folder']}/logs/{name}.txt" for name in ("000-1", "001-2")]
    assert [failure["log"] for failure in told["failed"]] == logs
    assert all(
        f"digits has 1442, not 5000; 0 takes all (log {log})" in result.err
        for log in logs
    )
    assert (
        "2 of 4 runs failed" in result.err
        and "digits has 1442" in (folder / logs[0]).read_text()
    )
    jobs = json.loads((place / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == [
        "failed",
        "failed",
        "finished",
        "finished",
    ]
    again = aihw("resume", told["folder"])
    assert again.code == 1 and "2 of 4 runs to do" in again.out


def test_seeds_without_a_sweep_and_the_same_command_again(aihw, folder: Path) -> None:
    first = aihw("train", *QUICK, "seeds=2")
    assert first.code == 0 and "ci95" in first.out and "\x1b" not in first.out
    second = aihw("train", *QUICK, "seeds=2")
    assert "0 of 2 runs to do" in second.out
    assert second.out.splitlines()[1:] == first.out.splitlines()[3:]


def test_a_run_that_is_there_is_not_run_again(aihw, folder: Path) -> None:
    single = json.loads(aihw("train", *QUICK, "optimizer.lr=0.2", "--json").out)
    before = (folder / single["folder"] / "run.json").read_bytes()
    result = aihw("train", *QUICK, "-m", "optimizer.lr=0.1,0.2")
    assert result.code == 0 and "2 of 2 runs to do" in result.out
    assert (folder / single["folder"] / "run.json").read_bytes() == before
    jobs = json.loads(next(folder.glob("runs/*/sweep-*/sweep.json")).read_text())[
        "jobs"
    ]
    assert [job["attempts"] for job in jobs] == [1, 0]


def test_a_diverged_run_has_exit_code_1_and_a_sweep_names_it(
    aihw, folder: Path
) -> None:
    single = aihw("train", *QUICK, "optimizer.lr=1e38")
    assert (
        single.code == 1 and "diverged: " in single.out and "optimizer.lr" in single.err
    )
    result = aihw("train", *QUICK, "-m", "optimizer.lr=1e38,0.1")
    assert (
        result.code == 0
        and "1 of 2 runs diverged" in result.out
        and "optimizer.lr=1e+38 seed 1" in result.out
    )
    points, runs = tables(next(folder.glob("runs/*/sweep-*")))
    assert {row["optimizer.lr"]: row["diverged"] for row in points} == {
        "0.1": "0",
        "1e+38": "1",
    }
    assert [row["status"] for row in runs] == ["diverged", "finished"]


def test_interrupt_writes_checkpoints_and_resume_ends_as_if_undisturbed(
    aihw, folder: Path, calm
) -> None:
    """Only the sweep's own process gets the signal; its runs must still write their checkpoints."""
    with started("train", *THREE) as process:
        wait_for(under_way(folder, 2), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    place = next(folder.glob("runs/digits/sweep-*"))
    assert process.returncode == 130 and err == ""
    assert (
        out.splitlines()[-1]
        == f"interrupted; go on with: aihw resume {place.relative_to(folder)}"
    )
    jobs = json.loads((place / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["interrupted", "interrupted", "queued"]
    for job in jobs[:2]:
        assert list((place / job["folder"] / "checkpoint").iterdir())
        assert (
            json.loads((place / job["folder"] / "run.json").read_text())["status"]
            == "interrupted"
        )
    assert "aihw resume runs/digits/" in (place / "logs/000-1.txt").read_text()
    result = aihw("resume", str(place.relative_to(folder)))
    assert result.code == 0 and "3 of 3 runs to do" in result.out
    assert tables(place) == calm
    assert "resuming" in (place / "logs/000-1.txt").read_text()


def test_killed_with_all_its_runs_and_resumed_it_ends_as_if_undisturbed(
    aihw, folder: Path, calm
) -> None:
    with started("train", *THREE) as process:
        wait_for(under_way(folder, 2), process)
        process.kill()
        for facts in progress(folder):
            os.kill(facts["pid"], signal.SIGKILL)
        process.wait(60)
    place = next(folder.glob("runs/digits/sweep-*"))
    assert not (place / "table.csv").exists()
    result = aihw("resume", str(place.relative_to(folder)))
    assert result.code == 0 and tables(place) == calm


def test_runs_end_with_their_checkpoint_when_the_sweep_is_killed(folder: Path) -> None:
    with started(
        "train", *FEW, "run.epochs=100000", "-m", "optimizer.lr=0.1,0.2", "--jobs", "2"
    ) as process:
        wait_for(under_way(folder, 2), process)
        process.kill()
    places = [path.parent for path in folder.glob("runs/digits/*/run.json")]
    wait_for(
        lambda: all(
            json.loads((p / "run.json").read_text())["status"] == "interrupted"
            for p in places
        )
    )
    assert len(places) == 2 and all(
        list((place / "checkpoint").iterdir()) for place in places
    )


def test_a_killed_run_is_tried_again_from_its_checkpoint(folder: Path) -> None:
    with started(
        "train", *LONG, "-m", "optimizer.lr=0.1,0.2", "--jobs", "2"
    ) as process:
        wait_for(under_way(folder, 1), process)
        victim = next(f for f in progress(folder) if f.get("epoch", 0) >= 2)
        os.kill(victim["pid"], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (
        0,
        "",
    ) and "killed by SIGKILL; attempt 2" in out
    jobs = json.loads(next(folder.glob("runs/*/sweep-*/sweep.json")).read_text())[
        "jobs"
    ]
    assert sorted(job["attempts"] for job in jobs) == [1, 2]


def test_two_sweeps_share_their_common_runs(folder: Path) -> None:
    """Both sweeps want the runs of 0.2: each is done once, by one of them, and both have its
    result."""
    first, second = (
        ("train", *LONG, "-m", "optimizer.lr=0.2,0.1"),
        ("train", *LONG, "-m", "optimizer.lr=0.2,0.3"),
    )
    with started(*first) as one, started(*second) as other:
        outs = [process.communicate(timeout=120) for process in (one, other)]
    assert [one.returncode, other.returncode, outs[0][1], outs[1][1]] == [0, 0, "", ""]
    assert len(list(folder.glob("runs/digits/*/summary.json"))) == 3
    logs = [path.read_text() for path in folder.glob("runs/digits/*/log.txt")]
    assert [log.count("started on") for log in logs] == [1, 1, 1]
    runs = [tables(place)[1] for place in folder.glob("runs/digits/sweep-*")]
    common = [
        next(row for row in rows if row["optimizer.lr"] == "0.2") for rows in runs
    ]
    assert common[0] == common[1] and common[0]["status"] == "finished"


def test_a_live_table_on_a_terminal(folder: Path) -> None:
    words = ("train", *LONG, "-m", "optimizer.lr=0.1,0.2", "--jobs", "2")
    seen = on_a_terminal([sys.executable, "-m", "aihw_cli", *words])
    assert (
        "\x1b[" in seen
        and "running" in seen
        and "/40" in seen
        and "2 of 2 runs to do" in seen
    )
    assert "optimizer.lr=0.2 seed 1: finished" in seen and "ci95" in seen


def test_gpus_are_dealt_out_and_a_missing_one_is_named(aihw, folder: Path) -> None:
    """On a machine without a GPU of that number a run says so, instead of falling back to the
    processor."""
    result = aihw("train", *QUICK, "seeds=1", "-m", "run.seed=1,2", "--gpus", "97,98")
    assert result.code == 1 and "--gpus 97: torch finds no usable GPU" in result.out
    assert "--gpus 98: torch finds no usable GPU" in result.out


@pytest.mark.gpu
def test_a_sweep_on_a_gpu(aihw, folder: Path) -> None:
    result = aihw("train", *QUICK, "-m", "run.seed=1,2", "--gpus", "0", "--jobs", "2")
    assert result.code == 0, result.out
    records = [
        json.loads(path.read_text()) for path in folder.glob("runs/digits/*/run.json")
    ]
    assert [record["device"] for record in records] == ["cuda", "cuda"]


def test_gpus_are_counted_among_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for before, wanted, seen in (
        ("", "1", "1"),
        ("4,6", "1", "6"),
        ("4", "GPU-abc", "GPU-abc"),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        use_gpu(wanted)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_the_first_failure_stops_the_others_if_asked(folder: Path) -> None:
    words = (
        *FEW[:1],
        *FEW[2:],
        "run.epochs=100000",
        "-m",
        "dataset.train_samples=40,5000,41",
        "--jobs",
        "2",
    )
    with started("train", *words, "--fail-fast") as process:
        out, err = process.communicate(timeout=120)
    assert (
        (process.returncode, err) == (1, "")
        and "--fail-fast" in out
        and "1 of 3 runs failed" in out
    )
    jobs = json.loads(next(folder.glob("runs/*/sweep-*/sweep.json")).read_text())[
        "jobs"
    ]
    assert [job["status"] in ("interrupted", "queued") for job in jobs] == [
        True,
        False,
        True,
    ]
