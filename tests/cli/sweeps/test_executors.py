"""The same sweep through submitit's local executor and a local Ray cluster of two workers; skipped
without them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.sweeps.executors import make_executor
from aihw_cli.sweeps.manifest import Options
from engine.jit import cuda
from tests.cli.sweeps.test_schedule import (
    FEW,
    QUICK,
    progress,
    started,
    tables,
    under_way,
)
from tests.cli.sweeps.waiting import wait_for

EXECUTORS = {"submitit": "aihw[slurm]", "ray": "aihw[ray]"}


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A cluster of two nodes with one processor each, on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'aihw[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(params=list(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words that choose an executor."""
    name = request.param
    if name == "submitit":
        pytest.importorskip(
            name, reason=f"submitit is not installed: pip install '{EXECUTORS[name]}'"
        )
        return "run.executor=submitit", "run.cluster.cluster=local"
    address = request.getfixturevalue("ray_cluster")
    return "run.executor=ray", f"run.cluster.address='{address}'", "--allow-code"


def jobs_of(folder: Path) -> list[dict[str, Any]]:
    """The runs in the manifest of the only sweep."""
    return json.loads(next(folder.glob("runs/*/sweep-*/sweep.json")).read_text())[
        "jobs"
    ]


def test_results_and_failures_are_those_of_this_machine(
    aihw, folder: Path, monkeypatch, executor
) -> None:
    words = (
        "train",
        *QUICK[:1],
        *QUICK[2:],
        "-m",
        "dataset.train_samples=40,5000",
        "run.seed=1,2",
        "--jobs",
        "2",
    )
    with started(*words, *executor) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "2 of 4 runs failed" in out, out + err
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    assert aihw(*words).code == 1
    found, here = (
        tables(next(place.glob("runs/*/sweep-*")))
        for place in (folder, folder / "here")
    )
    assert found == here


def test_interrupt_reaches_the_runs(folder: Path, executor) -> None:
    with started(
        "train",
        *FEW,
        "run.epochs=100000",
        "-m",
        "run.seed=1,2",
        "--jobs",
        "2",
        *executor,
    ) as process:
        wait_for(under_way(folder, 2), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "aihw resume runs/digits/sweep-" in out, (
        out + err
    )
    assert [job["status"] for job in jobs_of(folder)] == ["interrupted", "interrupted"]
    for record in folder.glob("runs/digits/*/run.json"):
        assert json.loads(record.read_text())["status"] == "interrupted"
        assert list((record.parent / "checkpoint").iterdir())


def test_a_killed_run_is_tried_again(folder: Path, executor) -> None:
    with started("train", *FEW, "run.epochs=40", "seeds=1", *executor) as process:
        wait_for(under_way(folder, 1), process)
        os.kill(progress(folder)[0]["pid"], signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "attempt 2" in out, out + err
    assert [(job["status"], job["attempts"]) for job in jobs_of(folder)] == [
        ("finished", 2)
    ]


@pytest.mark.parametrize(
    "words, told",
    [
        (
            (
                "run.executor=submitit",
                "run.cluster.cluster=local",
                "run.cluster.slurm_partitions=gpu",
            ),
            "--allow-code to allow it (nearest: slurm_partition) (command line)",
        ),
        (
            ("run.executor=submitit", "run.cluster.cluster=slurmm"),
            "(nearest: slurm, local)",
        ),
        (("run.executor=submitit", "--gpus", "0"), "run.cluster"),
        (("run.executor=slurm",), "run.executor must be one of local, submitit, ray"),
    ],
)
def test_wrong_settings_are_one_line(aihw, words: tuple[str, ...], told: str) -> None:
    pytest.importorskip(
        "submitit", reason="submitit is not installed: pip install 'aihw[slurm]'"
    )
    result = aihw("train", *QUICK, "-m", "run.seed=1,2", *words)
    assert result.code == 2 and told in result.err and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "device, options, gpus",
    [
        ("auto", Options(jobs=4), ("0", "1", "2")),
        ("cuda", Options(jobs=2), ("0", "1", "2")),
        ("cpu", Options(jobs=4), ()),
        ("auto", Options(), ()),
        ("auto", Options(jobs=4, gpus=("1",)), ("1",)),
    ],
)
def test_runs_at_a_time_are_spread_over_all_gpus(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    options: Options,
    gpus: tuple[str, ...],
) -> None:
    monkeypatch.setattr(cuda, "device_count", lambda: 3)
    run = {"executor": "local", "cluster": {}, "device": device}
    made: Any = make_executor(run, options, Path("x"))
    assert made._gpus == gpus and made.asked == bool(options.gpus)


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_is_not_installed_is_named(
    aihw, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    result = aihw("train", *QUICK, f"run.executor={name}")
    assert result.code == 2 and f"pip install '{EXECUTORS[name]}'" in result.err
