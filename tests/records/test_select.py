"""Conditions, keys, groups and what tells runs apart."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from aihw_cli.main import main
from engine.presets import load_member
from engine.records.differ import differing, distinguishing
from engine.records.group import (
    best_first,
    distinct,
    group_by,
    less_is_better,
    mixed,
    over_seeds,
)
from engine.records.index import find_runs
from engine.records.run import Run, all_keys, complete_key
from engine.records.select import read_condition, select
from engine.records.statistics import spread
from engine.settings import UserError
from tests.records.helpers import accuracy, config, write_run, write_sweep


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    write_sweep(tmp_path, 24)
    return find_runs([tmp_path]).runs


def chosen(runs: list[Run], *words: str) -> list[Run]:
    """The runs that fulfil conditions as a user writes them."""
    conditions = [read_condition(word) for word in words]
    return select(runs, [c for c in conditions if c is not None], all_keys(runs))


@pytest.mark.parametrize(
    "words, count",
    [
        (["optimizer.lr=0.1"], 6),
        (["lr=1e-1"], 6),
        (["lr=0.01,0.3"], 12),
        (["lr!=0.1"], 18),
        (["lr>0.03"], 12),
        (["lr>=0.03", "lr<0.3"], 12),
        (["lr=0.02..0.2"], 12),
        (["lr=..0.03"], 12),
        (["lr=0.1.."], 12),
        (["device.model=constant_step", "run.seed=2"], 8),
        (["device.model=const*"], 24),
        (["device.model=ecram"], 0),
        (["device=constant_step"], 24),
        (["model=mlp"], 24),
        (["model.hidden=[16]"], 24),
        (["model.hidden=[16,16]"], 0),
        (["algorithm~SG"], 24),
        (["status=finished"], 24),
        (["test_accuracy>0.935"], 3),
        (["started>2026-01-01T00:00:03"], 12),
        (["started<2025-12"], 0),
        (["device.w_max=0.6", "seed=1,3"], 16),
    ],
)
def test_conditions(runs: list[Run], words: list[str], count: int) -> None:
    assert len(chosen(runs, *words)) == count


def test_what_is_no_condition() -> None:
    assert read_condition("runs/digits") is None and read_condition("./a=b") is None
    for word, reason in (("lr=", "lacks a value"), ("lr>big", "big is no number")):
        with pytest.raises(UserError, match=reason):
            read_condition(word)


@pytest.mark.parametrize(
    "name, message",
    [
        ("optimizer.lrr", "nearest: optimizer.lr"),
        ("dwmin", "nearest: device.dw_min"),
        ("root.x.y", "no run has the key"),
        ("about", "may mean device.about, tile.about, algorithm.about"),
    ],
)
def test_unknown_keys_name_the_nearest(
    runs: list[Run], name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        complete_key(name, all_keys(runs))
    assert len(str(caught.value).splitlines()) == 1


def test_a_preset_is_recognised_with_changed_values(tmp_path: Path) -> None:
    for number, name in enumerate(("ecram", "reram_sb")):
        write_run(
            tmp_path,
            config(device={**load_member("device", name), "dw_min": 0.01}),
            number=number,
        )
    runs = find_runs([tmp_path]).runs
    assert len(chosen(runs, "device=ecram")) == 1
    assert distinguishing(runs) == ["device"] and len(differing(runs)) > 3
    assert [group.keys["device"] for group in over_seeds(runs)] == ["ecram", "reram_sb"]


def test_what_tells_runs_apart(tmp_path: Path) -> None:
    layers = {"fc2": {"algorithm": {"name": "digital"}}}
    changes: list[dict[str, object]] = [
        {}, {"seed": 2, "run__dir": "x", "name": "other", "seeds": 3}, {"device__dw_min": 0.5}, {"layers": layers}
    ]  # fmt: skip
    for number, change in enumerate(changes):
        write_run(tmp_path, config(**change), number=number)  # type: ignore[arg-type]
    runs = find_runs([tmp_path]).runs
    assert differing(runs[:2]) == [] and set(differing(runs[:2], incidental=True)) == {
        "run.seed",
        "run.dir",
        "name",
        "seeds",
    }
    assert distinguishing(runs) == ["device.dw_min", "layers.fc2.algorithm.name"]


def test_a_key_of_a_later_version_tells_no_runs_apart(tmp_path: Path) -> None:
    later = config()
    later["device"]["drift_nu"] = 0.0
    for number, values in enumerate((config(), later, config(device__drift_nu=0.1))):
        write_run(tmp_path, values, number=number)
    runs = find_runs([tmp_path]).runs
    assert distinguishing(runs[:2]) == [] and differing(runs[:2], incidental=True) == [
        "device.drift_nu"
    ]
    assert distinguishing(runs) == ["device.drift_nu"]


def test_groups_over_seeds(runs: list[Run]) -> None:
    groups = over_seeds(runs)
    assert len(groups) == 8 and all(len(group.runs) == 3 for group in groups)
    best = best_first(groups, "test_accuracy", lowest=False)[0]
    assert best.keys == {
        "device.dw_min": 0.001,
        "optimizer.lr": 0.1,
        "hash": "000000000002",
    }
    found = best.spread("test_accuracy")
    assert found.mean == pytest.approx(0.94) and found.std == pytest.approx(0.002)
    assert found.ci95 == pytest.approx(4.302653 * 0.002 / math.sqrt(3), rel=1e-5)
    assert not any(mixed(group) for group in groups)


def test_groups_by_a_key_say_what_they_mix(runs: list[Run]) -> None:
    groups = group_by(runs, ["optimizer.lr"])
    assert [group.keys["optimizer.lr"] for group in groups] == [0.01, 0.03, 0.1, 0.3]
    assert mixed(groups[0]) == ["device.dw_min"]
    assert len(group_by(runs, [])) == 1


def test_groups_without_a_result_come_last(tmp_path: Path) -> None:
    write_run(tmp_path, config(seed=1), number=1, status="failed").joinpath(
        "metrics.csv"
    ).unlink()
    write_run(tmp_path, config(lr=0.3), number=2)
    groups = best_first(
        over_seeds(find_runs([tmp_path]).runs), "test_accuracy", lowest=True
    )
    assert [group.spread("test_accuracy").count for group in groups] == [1, 0]


def test_less_is_better() -> None:
    assert [
        less_is_better(name)
        for name in ("test_loss", "seconds", "test_accuracy", "final_error")
    ] == [1, 1, 0, 1]


def test_statistics() -> None:
    found = spread([1.0, 2.0, 3.0, math.nan, 6.0])
    assert (found.count, found.mean, found.low, found.high) == (4, 3.0, 1.0, 6.0)
    assert found.std == pytest.approx(2.160247) and found.ci95 == pytest.approx(
        3.437425, rel=1e-5
    )
    assert (
        spread([2.0]).mean == 2.0
        and math.isnan(spread([2.0]).ci95)
        and spread([]).count == 0
    )


def test_a_copy_a_link_and_a_repetition_of_a_run_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (write_run(Path("runs"), config(seed=seed)) for seed in (1, 2))
    shutil.copytree(first, first.with_name(f"{first.name}-2"))
    shutil.copytree(first, Path("runs") / "elsewhere" / first.name)
    shutil.copytree(second, Path("runs") / "again" / second.name)
    assert main(["runs", "ls", "--seeds", "--json"]) == 0
    found = capsys.readouterr()
    (row,) = json.loads(found.out)
    assert row["runs"] == "2/2" and "3 of 5 runs repeat another one" in found.err
    values = [accuracy(config(seed=seed)) for seed in (1, 2)]
    assert row["test_accuracy"] == pytest.approx(sum(values) / 2)
    assert row["std"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))


def test_a_finished_run_stands_for_its_unfinished_copy(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(seed=1), status="interrupted")
    write_run(tmp_path / "b", config(seed=1))
    (only,) = distinct(find_runs([tmp_path]).runs)
    assert only.status == "finished" and len(find_runs([tmp_path]).runs) == 2
