"""Sweeps and seeds: which points, one process each, what becomes of failures, the table."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from aihw_cli import overrides, table
from aihw_cli.sweeps import drive
from aihw_cli.sweeps.executors import share_of_cores
from aihw_cli.sweeps.manifest import Options, Sweep, load
from aihw_cli.sweeps.plan import plan
from engine.settings import UserError
from tests.cli.conftest import write


def test_points_are_the_product_in_order() -> None:
    points = overrides.expand(
        ["device=ecram,capacitor", "run.epochs=2", "optimizer.lr=choice(0.1,0.2)"]
    )
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
        (
            "device=glob([gok*,reram_array_*],exclude=*_om)",
            ["gokmen_vlasov", "reram_array_hfo2"],
        ),
    ],
)
def test_the_grammar_of_a_sweep(text: str, values: list[str]) -> None:
    key = text.partition("=")[0]
    assert overrides.expand([text]) == [[f"{key}={value}"] for value in values]
    assert overrides.swept_keys([text, "b=1"]) == [key]


def test_plan_has_every_seed_of_every_point() -> None:
    planned = plan(["optimizer.lr=0.1,0.2", "seeds=2", "run.seed=5"], multirun=True)
    assert planned.points == [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.2"}]
    assert [(job.point, job.seed) for job in planned.jobs] == [
        (0, 5),
        (0, 6),
        (1, 5),
        (1, 6),
    ]
    config = planned.config(planned.jobs[3])
    assert (config["run"]["seed"], config["seeds"], config["optimizer"]["lr"]) == (
        6,
        1,
        0.2,
    )
    same = plan(["optimizer.lr=0.1,0.2", "seeds=2", "run.seed=5"], multirun=True)
    other = plan(["optimizer.lr=0.1,0.3", "seeds=2", "run.seed=5"], multirun=True)
    assert planned.folder == same.folder != other.folder


def test_the_folder_of_a_run_is_that_of_the_single_command() -> None:
    from aihw_cli.compose import compose
    from engine.experiment.runs import run_folder

    planned = plan(["device=ecram,capacitor", "seeds=2"], multirun=True)
    for job, device in zip(planned.jobs[1::2], ("ecram", "capacitor"), strict=True):
        assert job.folder == run_folder(
            compose([f"device={device}", "run.seed=2"]).values
        )


def test_points_with_other_choices_do_not_share_their_composition() -> None:
    """What points have in common is composed once: neither choices nor values may leak into the
    next point."""
    words = [
        "device=ecram,capacitor",
        "optimizer.lr=0.1,0.2",
        "layers={fc1:{algorithm:digital}},{}",
    ]
    planned = plan(words, multirun=True)
    from aihw_cli.compose import compose

    for number, point in enumerate(overrides.expand(words)):
        assert (
            json.loads(planned.configs[number])["device"]
            == compose(point).values["device"]
        )
        assert (
            json.loads(planned.configs[number])["optimizer"]
            == compose(point).values["optimizer"]
        )
        assert (
            json.loads(planned.configs[number])["layers"]
            == compose(point).values["layers"]
        )


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    planned = plan(["optimizer.lr=0.1,0.2", "seeds=2"], multirun=True)
    planned.options = Options(3, ("0", "1"), 1, True)
    planned.save_points()
    planned.save()
    found = load(planned.folder)
    assert vars(found) == {**vars(planned), "notes": []}
    found.jobs[0].status = "running"
    found.save()
    assert load(planned.folder).jobs == planned.jobs


def test_two_points_of_one_result_are_one_run() -> None:
    planned = plan(["algorithm=digital,sgd", "device=ecram,capacitor"], multirun=True)
    folders = [job.folder for job in planned.jobs]
    assert folders[0] == folders[1] and len(set(folders)) == 3


def test_again_takes_folders_of_its_own(folder: Path) -> None:
    first = plan(["optimizer.lr=0.1,0.2"], multirun=True)
    for place in (first.folder, first.jobs[0].folder):
        place.mkdir(parents=True)
    again = plan(["optimizer.lr=0.1,0.2"], multirun=True, again=True)
    assert again.folder.name == f"{first.folder.name}-2"
    assert again.jobs[0].folder.name == f"{first.jobs[0].folder.name}-2"
    assert again.jobs[1].folder == first.jobs[1].folder


def test_options_of_the_command_line_go_before_those_of_the_manifest() -> None:
    before = Options(4, ("0",), 1, True)
    assert drive.read_options({}, before) == Options(4, ("0",), 1, False)
    given = {"--jobs": "2", "--gpus": "1, 3", "--retries": "0", "--fail-fast": ""}
    assert drive.read_options(given, before) == Options(2, ("1", "3"), 0, True)


@pytest.mark.parametrize(
    "option, value",
    [("--jobs", "two"), ("--jobs", "0"), ("--gpus", ","), ("--gpus", "1,1")],
)
def test_options_that_make_no_sense_are_refused(option: str, value: str) -> None:
    with pytest.raises(UserError, match=option):
        drive.read_options({option: value})


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert [share_of_cores(slots) for slots in (1, 2, 3, 8, 20)] == [0, 4, 2, 1, 1]


def test_statistics_over_seeds() -> None:
    mean, spread, half = table.statistics_of([0.9, 0.92, 0.94])
    assert (mean, spread) == (pytest.approx(0.92), pytest.approx(0.02))
    assert half == pytest.approx(4.302653 * 0.02 / math.sqrt(3))
    assert table.statistics_of([0.5])[0] == 0.5 and math.isnan(
        table.statistics_of([0.5])[2]
    )
    assert math.isnan(table.statistics_of([])[0])


def test_the_metric_of_a_task_is_sorted_its_own_way() -> None:
    summaries = {
        "a": {"figure": "error", "error": 0.2, "seconds": 1.0},
        "b": {"error": 0.1, "seconds": 1.0},
    }
    metric = table.metric_of(list(summaries.values()))
    rows = [
        table.point_row({"x": name}, [summary], 1, metric)
        for name, summary in summaries.items()
    ]
    assert [row["x"] for row in table.best_first(rows, metric)] == ["b", "a"]


def test_table_is_sorted_and_leaves_gaps_empty() -> None:
    summaries = {"a": [0.8, 0.9], "b": [], "c": [0.95]}
    rows = [
        table.point_row(
            {"device": name}, [{"test_accuracy": v, "seconds": 1.0} for v in values], 2
        )
        for name, values in summaries.items()
    ]
    best = table.best_first(rows)
    assert [row["device"] for row in best] == ["c", "a", "b"]
    read = list(csv.DictReader(io.StringIO(table.as_csv(best))))
    assert (read[0]["std"], read[1]["runs"], read[2]["test_accuracy"]) == (
        "",
        "2/2",
        "",
    )
    assert "0.8500" in table.as_text(best) and "0/2" in table.as_text(best)


def test_a_damaged_manifest_is_refused(aihw, folder: Path) -> None:
    write(folder / "runs/x/sweep.json", '{"format": 2, "jobs": [{"x": 1}]}')
    result = aihw("resume", "runs/x")
    assert result.code == 2 and "sweep.json" in result.err
    for number, word in ((99, "newer"), (1, "older")):
        write(folder / "runs/x/sweep.json", json.dumps({"format": number}))
        assert f"{word} version" in aihw("resume", "runs/x").err


def test_a_sweep_folder_in_use_is_refused(aihw, folder: Path) -> None:
    words = ("run.epochs=1", "seeds=2")
    planned: Sweep = plan(words, multirun=False)
    with drive.locked(planned.folder):
        result = aihw("train", *words)
    assert (
        result.code == 2
        and "in use by process" in result.err
        and not (planned.folder / "sweep.json").exists()
    )


@pytest.mark.parametrize(
    "words, told",
    [
        (
            ("-m", "device.dw_minn=1,2"),
            "unknown key device.dw_minn; nearest: device.dw_min",
        ),
        (("-m", "optimizer.lr="), "optimizer.lr"),
        (("-m", "optimizer.lr=choice()"), "optimizer.lr=choice()"),
        (("-m", "optimizer.lr=range(3,3)"), "matches nothing"),
        (("-m", "device=glob(z*)"), "matches nothing"),
        (
            ("-m", "optimizer.lr=0.1,0.2", "--jobs", "none"),
            "--jobs takes a whole number",
        ),
        (("-m", "run.executor=local,ray"), "run.executor cannot be swept"),
        (("--jobs", "2"), "--jobs: one run, no sweep"),
        (("seeds=2", "run.cluster.partition=gpu"), "run.cluster is for"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    aihw, folder: Path, words, told: str
) -> None:
    result = aihw("train", *words)
    assert result.code == 2 and told in result.err and len(result.err.splitlines()) <= 2
    assert not list(folder.glob("runs/*/*/run.json"))
