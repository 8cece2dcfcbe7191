"""Searches: what varies, trials as ordinary runs, more trials later, an interrupted or lost
study."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.sweeps import space
from aihw_cli.sweeps.space import Dimension
from engine.settings import UserError
from tests.cli.conftest import write
from tests.cli.sweeps.test_schedule import FEW, QUICK, started
from tests.cli.sweeps.waiting import wait_for

RATE = "optimizer.lr=tag(log,interval(0.001,1))"
SIZE = "dataset.batch_size=int(interval(2,20))"


@pytest.fixture(autouse=True)
def _optuna() -> Any:
    return pytest.importorskip(
        "optuna", reason="Optuna is not installed: pip install 'aihw[search]'"
    )


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the only search."""
    return json.loads(next(folder.glob("runs/*/search-*/sweep.json")).read_text())


@pytest.mark.parametrize(
    "text, dimension",
    [
        ("a=interval(0.1,2)", Dimension("a", 0.1, 2.0)),
        ("a=tag(log,interval(1e-4,1e-2))", Dimension("a", 1e-4, 1e-2, 0, True)),
        ("a=int(interval(1,9))", Dimension("a", 1, 9)),
        ("a=range(1,10,2)", Dimension("a", 1, 9, 2)),
        ("a=range(0,1,0.25)", Dimension("a", 0.0, 0.75, 0.25)),
        (
            "device@algorithm.fast=ecram,capacitor",
            Dimension("device@algorithm.fast", choices=("ecram", "capacitor")),
        ),
        (
            "device=glob(reram_array_*)",
            Dimension("device", choices=("reram_array_hfo2", "reram_array_om")),
        ),
    ],
)
def test_what_varies(text: str, dimension: Dimension) -> None:
    varied, fixed = space.split(["conf=x.yaml", text, "b=1"])
    assert (varied, fixed) == ([dimension], ["conf=x.yaml", "b=1"])
    study = pytest.importorskip("optuna").create_study()
    value = study.ask({dimension.key: dimension.distribution()}).params[dimension.key]
    assert (
        value in dimension.choices
        if dimension.choices
        else dimension.low <= value <= dimension.high
    )
    assert type(value) is type(
        dimension.choices[0] if dimension.choices else dimension.low
    )
    assert space.point([dimension], {dimension.key: value}) == {
        dimension.key: str(value)
    }


@pytest.mark.parametrize(
    "text", ["a=interval(1,1)", "a=tag(log,interval(0,1))", "a=tag(log,choice(1,2))"]
)
def test_what_cannot_vary(text: str) -> None:
    with pytest.raises(UserError, match="a="):
        space.split([text])


@pytest.mark.parametrize(
    "words, told",
    [
        ((), "nothing to search"),
        (("device.dw_minn=interval(0,1)",), "nearest: device.dw_min"),
        (("device.dw_min=interval(-1,1)",), "device.dw_min must be"),
        (("device=ecram,ecrm",), "no device 'ecrm'; nearest: ecram"),
        ((RATE, "--metric", "accuracy"), "--metric accuracy"),
        ((RATE, "--trials", "many"), "--trials takes a whole number"),
        ((RATE, "--trials", "0"), "--trials must be at least 1"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    aihw, folder: Path, words: tuple[str, ...], told: str
) -> None:
    result = aihw("search", *words)
    assert result.code == 2 and told in result.err and len(result.err.splitlines()) == 1
    assert not list(folder.glob("runs/**/run.json"))


def test_trials_are_runs_and_more_of_them_can_follow(
    aihw, folder: Path, _optuna
) -> None:
    words = ("search", *QUICK, RATE, SIZE)
    first = aihw(*words, "--trials", "2", "--json")
    assert first.code == 0 and "best: valid_accuracy" in first.err
    assert (
        "note: dataset.valid_part=0.1: that share of the training samples" in first.err
    )
    told = json.loads(first.out)
    assert len(told["points"]) == 2
    begun = manifest(folder)
    assert all(
        (folder / told["folder"] / job["folder"] / "summary.json").is_file()
        for job in begun["jobs"]
    )
    assert "0 of 2 runs to do" in aihw(*words, "--trials", "2").out
    assert "1 of 3 runs to do" in aihw("resume", told["folder"], "--trials", "3").out
    assert manifest(folder)["points"][:2] == begun["points"]
    place = folder / told["folder"]
    study = _optuna.load_study(study_name="aihw", storage=f"sqlite:///{place}/study.db")
    values = [
        json.loads((place / job["folder"] / "summary.json").read_text())
        for job in manifest(folder)["jobs"]
    ]
    assert [trial.value for trial in study.trials] == [
        value["valid_accuracy"] for value in values
    ]
    assert all(value["selected_on"] == "validation" for value in values)


def test_test_data_choose_only_if_they_are_asked_for(
    aihw, folder: Path, _optuna
) -> None:
    words = ("search", *QUICK, RATE, "--trials", "1")
    asked = aihw(*words, "--metric", "test_accuracy")
    assert asked.code == 0 and "selects on test data" in asked.err
    assert "best first by test_accuracy, on test data" in asked.out
    refused = aihw(*words, "dataset.valid_part=0")
    assert refused.code == 2 and "needs training samples set aside" in refused.err
    given = aihw(*words, "dataset.valid_part=0.3")
    assert given.code == 0 and "valid_part=0.1" not in given.err
    assert "best first by valid_accuracy, on validation data" in given.out
    assert "; its test_accuracy is " in given.out
    parts = [
        json.loads(path.read_text())["samples"]["valid"]
        for path in folder.glob("runs/digits/*/run.json")
    ]
    assert sorted(parts) == [0, 12], "of forty training samples"


def test_a_lost_study_is_made_anew_from_the_runs(aihw, folder: Path, _optuna) -> None:
    words = ("search", *QUICK, RATE, "--trials", "2")
    place = folder / json.loads(aihw(*words, "--json").out)["folder"]
    url = f"sqlite:///{place}/study.db"
    before = [
        (t.params, t.value)
        for t in _optuna.load_study(study_name="aihw", storage=url).trials
    ]
    (place / "study.db").unlink()
    assert aihw(*words).code == 0
    assert [
        (t.params, t.value)
        for t in _optuna.load_study(study_name="aihw", storage=url).trials
    ] == before
    write(place / "study.db", "no database at all")
    result = aihw(*words)
    assert (
        result.code == 2
        and "study.db" in result.err
        and len(result.err.splitlines()) == 2
    )


def test_an_interrupted_search_goes_on_as_if_undisturbed(
    aihw, folder: Path, monkeypatch
) -> None:
    words = ("search", *FEW, "run.epochs=30", RATE, "--trials", "3")
    with started(*words) as process:
        wait_for(lambda: bool(list(folder.glob("runs/digits/*/checkpoint/*"))), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (
        process.returncode == 130
        and err.startswith("note: dataset.valid_part=0.1")
        and "aihw resume runs/digits/search-" in out
    )
    assert aihw("resume", str(next(folder.glob("runs/digits/search-*")))).code == 0
    (folder / "calm").mkdir()
    monkeypatch.chdir(folder / "calm")
    assert aihw(*words).code == 0
    assert manifest(folder)["points"] == manifest(folder / "calm")["points"]


def test_the_space_of_a_recipe_the_mean_over_seeds_and_a_loss(
    aihw, folder: Path, _optuna
) -> None:
    write(
        folder / "mine.yaml",
        "defaults: [{dataset: digits}, {model: mlp}]\n"
        "search:\n  optimizer.lr: interval(0.1,0.2)\n  dataset.batch_size: choice(5,10)\n",
    )
    words = (
        "search",
        "conf=mine.yaml",
        *QUICK,
        "dataset.batch_size=20",
        "seeds=2",
        "--metric",
        "test_loss",
    )
    result = aihw(*words, "--trials", "2", "--jobs", "2")
    assert result.code == 0, result.err
    found = manifest(folder)
    assert [list(point) for point in found["points"]] == [["optimizer.lr"]] * 2 and len(
        found["jobs"]
    ) == 4
    assert found["search"]["direction"] == "minimize"
    place = next(folder.glob("runs/mine/search-*"))
    losses = [
        json.loads((place / j["folder"] / "summary.json").read_text())["test_loss"]
        for j in found["jobs"]
    ]
    study = _optuna.load_study(study_name="aihw", storage=f"sqlite:///{place}/study.db")
    means = [sum(losses[:2]) / 2, sum(losses[2:]) / 2]
    assert [trial.value for trial in study.trials] == pytest.approx(means)
    assert f"best: test_loss {min(means):.4g}" in result.out
    assert aihw("train", "conf=mine.yaml", *QUICK).code == 0
