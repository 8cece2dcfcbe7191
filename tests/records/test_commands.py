"""`aihw runs` as a user types it: lists, comparison, ranking, figures, and input that is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.experiment.runs import FORMAT
from tests.cli.conftest import Result
from tests.records.helpers import config, write_run, write_sweep

Aihw = Callable[..., Result]


@pytest.fixture(autouse=True)
def sweep(folder: Path) -> list[Path]:
    """24 runs below runs/: four learning rates, two step sizes, three seeds."""
    return write_sweep(folder / "runs", 24)


def table(result: Result) -> list[dict[str, str]]:
    """The rows of CSV output."""
    assert result.code == 0, result.err
    return list(csv.DictReader(io.StringIO(result.out)))


def test_ls_shows_what_tells_the_runs_apart(aihw: Aihw) -> None:
    rows = table(aihw("runs", "--csv"))
    assert len(rows) == 24 and set(rows[0]) == {
        "run", "status", "device.dw_min", "optimizer.lr", "seed", "test_accuracy", "epochs", "seconds", "started"
    }  # fmt: skip
    text = aihw(
        "runs", "ls", "lr=0.1", "seed=1", "--columns", "dw_min,model,host"
    ).out.splitlines()
    assert text[0].split() == ["run", "device.dw_min", "model.name", "host"]
    assert [line.split()[1:] for line in text[1:]] == [
        ["0.001", "mlp", "here"],
        ["0.002", "mlp", "here"],
    ]


def test_ls_sorts_and_limits(aihw: Aihw) -> None:
    result = aihw("runs", "ls", "--sort", "-test_accuracy", "--limit", "3", "--json")
    rows = json.loads(result.out)
    assert [row["test_accuracy"] for row in rows] == [
        0.942,
        0.94,
        0.938,
    ] and "3 of 24 rows" in result.err
    rising = table(aihw("runs", "ls", "--sort", "lr", "--csv"))
    assert [float(row["optimizer.lr"]) for row in rising] == sorted(
        [0.01, 0.03, 0.1, 0.3] * 6
    )


def test_statistics_over_seeds_and_groups(aihw: Aihw) -> None:
    rows = table(aihw("runs", "--seeds", "--csv", "lr=0.1"))
    assert [row["runs"] for row in rows] == ["3/3", "3/3"]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(0.94) and float(
        rows[0]["ci95"]
    ) == pytest.approx(0.0049683, rel=1e-4)
    grouped = aihw("runs", "--group", "optimizer.lr", "--csv")
    assert [row["runs"] for row in table(grouped)] == ["6/6"] * 4
    assert "differ in device.dw_min" in grouped.err


def test_best_names_configuration_and_run(aihw: Aihw, sweep: list[Path]) -> None:
    rows = table(aihw("runs", "best", "--csv"))
    assert (rows[0]["optimizer.lr"], rows[0]["run"]) == (
        "0.1",
        str(sweep[7].relative_to(Path.cwd())),
    )
    assert [float(row["test_accuracy"]) for row in rows] == sorted(
        (float(r["test_accuracy"]) for r in rows), reverse=True
    )
    lowest = table(aihw("runs", "best", "--csv", "--metric", "seconds", "--limit", "1"))
    assert float(lowest[0]["best"]) == 2.0


def test_several_folders_and_sweeps(
    aihw: Aihw, folder: Path, sweep: list[Path]
) -> None:
    write_run(folder / "other", config(seed=9), number=99)
    assert len(table(aihw("runs", "ls", "runs", "other", "--csv"))) == 25
    (folder / "runs/made/sweep-1").mkdir()
    jobs = [{"folder": f"../{path.name}"} for path in sweep[:4]]
    (folder / "runs/made/sweep-1/sweep.json").write_text(json.dumps({"jobs": jobs}))
    assert len(table(aihw("runs", "ls", "runs/made/sweep-1", "--csv"))) == 4


def test_a_run_is_named_by_the_beginning_of_its_id(aihw: Aihw) -> None:
    assert [
        row["seed"]
        for row in table(
            aihw("runs", "ls", "made/000000000003", "--csv", "--columns", "seed")
        )
    ] == list("123")
    assert aihw("runs", "show", "000000000003-2").out.startswith(
        "runs/made/000000000003-2\n"
    )


def test_show_tells_everything(aihw: Aihw, sweep: list[Path]) -> None:
    evaluation = write_run(
        sweep[0], config() | {"inference": {"noise_model": "pcm"}}, task="evaluate"
    )
    evaluation.parent.rename(sweep[0] / "eval")
    place = sweep[0] / "eval" / evaluation.name
    summary = {
        "status": "finished",
        "accuracy": 0.5,
        "points": [{"after": "1 d", "mean": 0.5}],
    }
    (place / "summary.json").write_text(json.dumps(summary))
    text = aihw("runs", "show", str(sweep[0])).out
    for words in ("id made/000000000000-1", "commit abc", "torch 2.9", "lr 0.01", "test_accuracy 0.89", "A paper",
                  "checkpoint none", "1 d 0.5000", f"evaluation {place}: finished"):  # fmt: skip
        assert words in re.sub(" +", " ", text), text
    data = json.loads(aihw("runs", "show", str(sweep[0]), "--json").out)
    assert data["config"]["optimizer"]["lr"] == 0.01 and len(data["metrics"]) == 4
    assert data["evaluations"][0]["inference"] == {"noise_model": "pcm"}
    assert len(table(aihw("runs", "ls", str(sweep[0] / "eval"), "--csv"))) == 1


def test_compare_shows_only_what_differs(aihw: Aihw, sweep: list[Path]) -> None:
    rows = table(aihw("runs", "compare", str(sweep[0]), str(sweep[4]), "--csv"))
    assert [row["key"] for row in rows] == [
        "optimizer.lr",
        "run.seed",
        "hash",
        "seed",
        "test_accuracy",
        "best_test_accuracy",
    ]
    text = aihw("runs", "compare", str(sweep[0]), str(sweep[4])).out
    assert (
        re.search(r"optimizer\.lr +0\.01 +0\.03", text) and "device.model" not in text
    )
    many = aihw("runs", "compare", "lr=0.1,0.3").out.splitlines()
    assert len(many) == 13 and many[0].split()[:3] == [
        "run",
        "device.dw_min",
        "optimizer.lr",
    ]


STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
FIGURES = {
    "curves.png": ["lr=0.1"],
    "curves.svg": ["lr=0.1"],
    "sweep.pdf": ["--x", "lr", "--group", "dw_min", "--title", "A title"],
    "heat.svg": ["--x", "lr", "--y", "dw_min"],
    "names.svg": ["--x", "status"],
}


@pytest.mark.parametrize("name", FIGURES)
def test_plot_writes_images(aihw: Aihw, folder: Path, name: str) -> None:
    for place in ("figures", "again"):
        result = aihw("runs", "plot", *FIGURES[name], "--out", f"{place}/{name}")
        assert result.code == 0 and (folder / place / name).read_bytes().startswith(
            STARTS[name[-3:]]
        ), result.err
    assert (folder / "figures" / name).read_bytes() == (
        folder / "again" / name
    ).read_bytes(), "the same to the byte"


def test_a_figure_that_nobody_could_read_is_refused(aihw: Aihw, folder: Path) -> None:
    for number in range(13):
        values = config() | {
            "name": f"n{number}",
            "model": {"name": "mlp", "hidden": [number]},
        }
        write_run(folder / "many", values, number=number)
    for out in ([], ["--out", "a.png"]):
        result = aihw("runs", "plot", "many", *out)
        assert (
            result.code == 2
            and "13 curves" in result.err
            and "model.hidden" in result.err
        )
        assert "--group" in result.err and not (folder / "a.png").exists()
    assert (
        aihw("runs", "plot", "many", "--group", "model.name", "--out", "a.png").code
        == 0
    )


def test_a_long_legend_stands_below_the_axes(aihw: Aihw, folder: Path) -> None:
    for number in range(8):
        values = config(**{"model__hidden": [number] * 12})
        write_run(folder / "long", values, number=number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aihw("runs", "plot", "long", "--out", "a.svg", "--width", "3").code == 0
        assert (
            aihw("runs", "plot", "lr=0.1", "--out", "b.svg", "--width", "3").code == 0
        )
    heights = [
        float(re.search(r'height="([\d.]+)pt"', Path(f).read_text())[1])
        for f in ("a.svg", "b.svg")
    ]
    assert heights[0] > 1.5 * heights[1]


def test_runs_of_other_tasks_are_left_out_of_learning_curves(
    aihw: Aihw, folder: Path
) -> None:
    first = write_run(folder / "two", config(), number=1)
    second = write_run(folder / "two", config(seed=2), number=2)
    (second / "metrics.csv").write_text("repeat,accuracy\n1,0.5\n")
    for kept in ([first, second], [second, first]):
        result = aihw("runs", "plot", *map(str, kept))
        assert result.code == 0 and "1 runs are left out" in result.err


def test_an_image_shows_text_scales_and_error_bars(aihw: Aihw, folder: Path) -> None:
    aihw("runs", "plot", "--x", "lr", "--out", "a.svg", "--width", "7")
    drawn = (folder / "a.svg").read_text()
    for words in (
        "learning rate",
        "test accuracy",
        "dw_min 0.001",
        "dw_min 0.002",
        'width="504pt"',
        "LineCollection",
    ):
        assert words in drawn
    aihw(
        "runs",
        "plot",
        "--x",
        "lr",
        "--out",
        "b.svg",
        "--xlabel",
        "step",
        "--ylabel",
        "share",
        "--log",
        "none",
    )
    assert (
        ">step<" in (folder / "b.svg").read_text()
        and ">share<" in (folder / "b.svg").read_text()
    )


def test_the_numbers_behind_a_figure(aihw: Aihw) -> None:
    rows = table(aihw("runs", "plot", "dw_min=0.001", "--x", "lr", "--csv"))
    assert [float(row["optimizer.lr"]) for row in rows] == [0.01, 0.03, 0.1, 0.3]
    middle = rows[2]
    assert (
        float(middle["test_accuracy"]) == pytest.approx(0.94) and middle["runs"] == "3"
    )
    assert float(middle["high"]) - float(middle["low"]) == pytest.approx(
        2 * 0.0049683, rel=1e-4
    )
    ends = table(
        aihw("runs", "plot", "dw_min=0.001", "--x", "lr", "--csv", "--error", "range")
    )[2]
    assert (float(ends["low"]), float(ends["high"])) == (0.938, 0.942)
    curves = table(
        aihw(
            "runs",
            "plot",
            "lr=0.1",
            "--metric",
            "train_loss",
            "--csv",
            "--error",
            "std",
        )
    )
    assert [float(row["train_loss"]) for row in curves[:4]] == pytest.approx(
        [1, 1 / 2, 1 / 3, 1 / 4]
    )
    heat = json.loads(aihw("runs", "plot", "--x", "lr", "--y", "dw_min", "--json").out)
    assert len(heat) == 8 and heat[2] == {
        "device.dw_min": 0.001,
        "optimizer.lr": 0.1,
        "test_accuracy": pytest.approx(0.94),
    }


def test_plots_in_the_terminal(aihw: Aihw) -> None:
    curves = aihw("runs", "plot", "lr=0.1").out
    assert (
        "* dw_min 0.001" in curves
        and "o dw_min 0.002" in curves
        and "epoch" in curves
        and "0.94" in curves
    )
    rows = aihw("runs", "plot", "--x", "lr").out.splitlines()
    assert rows[0].strip() == "test_accuracy" and any(
        line.split() == ["0.01", "0.3"] for line in rows
    )
    heat = aihw("runs", "plot", "--x", "lr", "--y", "dw_min").out.splitlines()
    assert heat[1].split() == ["0.01", "0.03", "0.1", "0.3"] and "0.94 @" in heat[2]
    told = aihw("runs", "plot", "--x", "lr", "--y", "dw_min", "--out", "heat.png").out
    assert told == "heat.png shows test_accuracy over optimizer.lr and device.dw_min\n"
    assert "0 = finished" in aihw("runs", "plot", "--x", "status").out


WRONG = {
    "no key": (["ls", "optimizer.lrr=1"], "nearest: optimizer.lr"),
    "no run": (["ls", "lr=7"], "none of 24 runs below runs has lr=7"),
    "no folder": (
        ["ls", "nowhere"],
        "nowhere is neither a folder, nor the name of a run below runs",
    ),
    "no runs below": (["ls", "cache"], "there is no run below cache"),
    "no value": (["ls", "lr="], "lacks a value"),
    "no number": (["ls", "lr>x"], "x is no number"),
    "no column": (["ls", "--sort", "model"], "no such column"),
    "no limit": (["ls", "--limit", "few"], "a number of rows"),
    "no option of it": (["show", "--csv"], "aihw runs show does not take --csv"),
    "both": (["ls", "--csv", "--json"], "exclude each other"),
    "too many": (["show"], "24 runs are meant"),
    "one": (["compare", "000000000003-2"], "at least two runs"),
    "no metric": (["best", "--metric", "accuracies"], "no run has the key accuracies"),
    "no format": (["plot", "--out", "a.jpeg"], "must end in one of .png, .pdf, .svg"),
    "no error": (["plot", "--error", "big"], "there are ci95, std, range, none"),
    "y alone": (["plot", "--y", "lr"], "name the first one with --x"),
    "no axis": (["plot", "--log", "z"], "there are x, y, xy, none"),
    "no width": (["plot", "--width", "wide"], "inches between 1 and 40"),
    "no metrics column": (
        ["plot", "--metric", "train_los"],
        "the runs have no column train_los; there are epoch",
    ),
}


@pytest.mark.parametrize("words, reason", WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(aihw: Aihw, words: list[str], reason: str) -> None:
    (Path("cache") / "empty").mkdir(parents=True)
    result = aihw("runs", *words)
    assert result.code == 2 and reason in result.err and result.out == ""
    assert (
        len([line for line in result.err.splitlines() if line.startswith("error: ")])
        == 1
    )


def test_without_a_runs_folder(aihw: Aihw, folder: Path) -> None:
    (folder / "runs").rename(folder / "kept")
    assert "there is no folder runs here" in aihw("runs").err
    assert "neither a folder nor a condition" in aihw("runs", "show", "abc").err


def test_folders_that_cannot_be_read_are_named(
    aihw: Aihw, folder: Path, sweep: list[Path]
) -> None:
    newer = write_run(folder / "runs", config(seed=7), number=70, format=FORMAT + 1)
    sweep[0].joinpath("run.json").write_text("{")
    (sweep[1] / "metrics.csv").write_text("epoch,test_accuracy\n1,0.5\n2,what\n")
    result = aihw("runs", "ls", "--csv")
    rows = table(result)
    assert [row["status"] for row in rows].count("finished") == 23
    assert [row["status"] for row in rows[-2:]] == ["damaged", "unreadable"]
    assert (
        f"note: {newer.relative_to(folder)} was written by a newer version of aihw (format {FORMAT + 1}); update aihw"
        in result.err
    )
    assert (
        f"note: {(sweep[0] / 'run.json').relative_to(folder)} is damaged" in result.err
    )
    plotted = aihw("runs", "plot", "seed=2")
    assert plotted.code == 0 and "metrics.csv line 3 is damaged" in plotted.err
    for verb in ("show", "compare"):
        alone = aihw("runs", verb, str(newer))
        assert alone.code == 2 and "newer version of aihw" in alone.err


def test_a_damaged_manifest_of_a_sweep(aihw: Aihw, folder: Path) -> None:
    (folder / "runs/made/sweep-1").mkdir()
    (folder / "runs/made/sweep-1/sweep.json").write_text("{")
    result = aihw("runs", "ls", "runs/made/sweep-1")
    assert result.code == 2 and "sweep.json is missing or damaged" in result.err
