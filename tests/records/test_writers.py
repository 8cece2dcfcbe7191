"""Metrics handed on to TensorBoard and MLflow: every epoch once, also after an interruption; and
never needed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.experiment import writers
from engine.experiment.runs import run_folder
from engine.experiment.train import resume, train
from engine.experiment.writers import Writers, writer_names
from engine.settings import UserError
from tests.experiment.helpers import Recorder, Stopper, interrupt, run, small_config

Scalars = dict[str, list[tuple[int, float]]]


def in_tensorboard(folder: Path) -> Scalars:
    """What TensorBoard reads from a run folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {
        tag: [(e.step, e.value) for e in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def in_mlflow(folder: Path) -> Scalars:
    """What MLflow tells of a run folder."""
    import json

    from mlflow import MlflowClient

    kept = json.loads((folder / "mlflow.json").read_text())
    client = MlflowClient(tracking_uri=kept["tracking_uri"])
    data = client.get_run(kept["run_id"]).data
    assert data.params["optimizer.lr"] == "0.05" and data.tags["aihw.seed"] == "7"
    return {
        name: [
            (m.step, m.value) for m in client.get_metric_history(kept["run_id"], name)
        ]
        for name in data.metrics
    }


def in_lines(folder: Path) -> Scalars:
    """What stands in the lines of JSON of a run folder."""
    import json

    found: Scalars = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for key, value in row.items():
            if key not in ("epoch", "summary"):
                found.setdefault(key, []).append((row["epoch"], value))
    return found


READERS: dict[str, Callable[[Path], Scalars]] = {
    "tensorboard": in_tensorboard,
    "mlflow": in_mlflow,
    "jsonl": in_lines,
}


@pytest.fixture(params=sorted(READERS))
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each writer that is installed; MLflow with no tracking server of the user's."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    package = "json" if request.param == "jsonl" else request.param
    pytest.importorskip(
        package, reason=f"the extra aihw[{request.param}] is not installed"
    )
    if request.param == "mlflow":
        pytest.importorskip(
            "sqlalchemy", reason="the extra aihw[mlflow] is not installed"
        )
    return str(request.param)


def expected(folder: Path) -> Scalars:
    """The metrics of a run, as scalars over epochs."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        k: [(int(r["epoch"]), float(r[k])) for r in rows]
        for k in rows[0]
        if k != "epoch"
    }


def agree(found: Scalars, wanted: Scalars) -> None:
    """Equal steps and, to the precision of the file, equal values; times may be those of before the
    interruption."""
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert [step for step, _ in found[key]] == [step for step, _ in values]
        if key != "seconds":
            assert [v for _, v in found[key]] == pytest.approx(
                [v for _, v in values], rel=1e-6
            )


def test_which_there_are() -> None:
    assert set(writer_names()) == {*READERS, "wandb"}, "wandb is tested in tests/custom"


def test_a_run_that_was_interrupted_is_followed(
    tmp_path: Path, every_step_is_reported: None
) -> None:
    pytest.importorskip(
        "tensorboard", reason="the extra aihw[tensorboard] is not installed"
    )
    config = small_config(tmp_path, run={"log": ["tensorboard"], "checkpoint_every": 4})
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((2, 3), interrupt))
    before = in_tensorboard(folder)
    assert [step for step, _ in before["train_loss"]] == [1]
    resume(folder, Recorder())
    agree(in_tensorboard(folder), expected(folder))


def test_the_checkpoint_may_be_older_than_the_metrics(
    tmp_path: Path, name: str
) -> None:
    import shutil

    config = small_config(tmp_path, run={"log": [name]})
    folder = run(config)
    agree(READERS[name](folder), expected(folder))
    for path in (folder / "checkpoint").glob("000003-*"):
        shutil.rmtree(path)
    record = (
        (folder / "run.json")
        .read_text()
        .replace('"status": "finished"', '"status": "running"')
    )
    (folder / "run.json").write_text(record)
    resume(folder, Recorder())
    agree(READERS[name](folder), expected(folder))


def test_results_do_not_depend_on_it(tmp_path: Path, name: str) -> None:
    config = small_config(tmp_path, run={"log": [name]})
    assert run_folder(config) == run_folder(small_config(tmp_path))


def test_without_the_package_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = writers.importlib.util.find_spec
    monkeypatch.setattr(
        writers.importlib.util,
        "find_spec",
        lambda name, *more: None if name == "tensorboard" else found(name, *more),
    )
    config = small_config(tmp_path, run={"log": ["tensorboard"]})
    with pytest.raises(UserError, match=r"pip install 'aihw\[tensorboard\]'"):
        run(config)
    assert not list(tmp_path.rglob("run.json"))


class Broken:
    """A writer whose server is gone after the first epoch."""

    def __init__(self, *_: Any) -> None:
        pass

    def rows(self, rows: list[Any]) -> None:
        raise OSError("the server\nis gone")


def test_a_writer_that_fails_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        writers,
        "_module",
        lambda _: type("Module", (), {"Writer": Broken, "PACKAGE": "os"}),
    )
    following = Writers(tmp_path, said.append)
    following.begin({"run": {"log": ["mlflow"]}}, {})
    following.rows([{"epoch": 1}])
    following.rows([{"epoch": 1}, {"epoch": 2}])
    following.close()
    assert said == ["run.log: mlflow is given up: OSError: the server"]
    folder = run(small_config(tmp_path, run={"log": ["mlflow"]}))
    assert (
        "mlflow is given up" in (folder / "log.txt").read_text()
        and (folder / "summary.json").is_file()
    )
