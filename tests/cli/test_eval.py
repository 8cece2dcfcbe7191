"""`aihw eval`: what it prints, where it writes, and what it refuses in one line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result

SHORT = [
    "inference.times=[1s,1y]",
    "inference.repeats=2",
    "run.threads=1",
    "run.device=cpu",
]
Aihw = Callable[..., Result]


@pytest.fixture
def run_dir(aihw: Aihw) -> Path:
    """A short digital run."""
    words = [
        "algorithm=digital",
        "run.epochs=1",
        "dataset.train_samples=200",
        "dataset.test_samples=60",
        "--json",
    ]
    result = aihw("train", *words, "run.device=cpu", "run.threads=1")
    return Path(json.loads(result.out)["folder"])


def test_table_files_and_the_second_time(aihw: Aihw, run_dir: Path) -> None:
    result = aihw("eval", str(run_dir), *SHORT)
    assert result.code == 0 and "\x1b" not in result.out
    lines = result.out.splitlines()
    place = lines.index("test accuracy, mean and standard deviation of 2 programmings")
    assert (
        lines[place + 1].split("  ")[0] == "after"
        and "global compensation" in lines[place + 1]
    )
    assert [line.split("  ")[0] for line in lines[place + 2 : place + 4]] == [
        "1 s",
        "1 y",
    ]
    folder = Path(lines[-1].removeprefix("plot").strip()).parent
    assert folder.parent == run_dir / "eval"
    assert {
        "accuracy.csv",
        "accuracy.png",
        "metrics.csv",
        "summary.json",
        "config.yaml",
    } <= {p.name for p in folder.iterdir()}
    before = (folder / "summary.json").stat().st_mtime_ns
    second = aihw("eval", str(run_dir), *SHORT)
    assert (
        second.code == 0
        and "was there already" in second.err
        and lines[place] in second.out
    )
    assert (folder / "summary.json").stat().st_mtime_ns == before
    third = aihw("eval", str(run_dir), *SHORT, "--again", "--json")
    told = json.loads(third.out)
    assert told["folder"] == f"{folder}-2" and len(told["points"]) == 4


def test_resume_takes_the_folder_of_an_evaluation(aihw: Aihw, run_dir: Path) -> None:
    folder = json.loads(aihw("eval", str(run_dir), *SHORT, "--json").out)["folder"]
    (Path(folder) / "summary.json").unlink()
    record = json.loads((Path(folder) / "run.json").read_text())
    (Path(folder) / "run.json").write_text(
        json.dumps({**record, "status": "interrupted"})
    )
    result = aihw("resume", folder)
    assert result.code == 0 and (Path(folder) / "summary.json").is_file()


def test_a_network_outlives_the_one_that_it_started_from(
    aihw: Aihw, run_dir: Path
) -> None:
    words = [
        "preset=hwa_add_normal",
        "optimizer=sgd",
        "optimizer.lr=0.01",
        "run.epochs=1",
        "dataset.train_samples=60",
    ]
    words += [
        "dataset.test_samples=60",
        f"run.start={run_dir}",
        "run.threads=1",
        "run.device=cpu",
        "--json",
    ]
    retrained = json.loads(aihw("train", *words).out)["folder"]
    run_dir.rename(run_dir.parent / "away")
    result = aihw("eval", retrained, *SHORT)
    assert result.code == 0, result.err


BAD = (
    (["inference.times=[-1h]"], "inference.times must not be negative: '-1h'"),
    (["inference.times=[1fortnight]"], "unknown unit 'fortnight'"),
    (["inference.times=[]"], "inference.times must be a list"),
    (["inference.converter.g_max=0"], "inference.converter.g_max must be > 0, not 0"),
    (["inference.repeats=0"], "inference.repeats must be >= 1, not 0"),
    (["inference=pmc"], "no inference 'pmc'; nearest: pcm"),
    (["inference.tines=[1s]"], "unknown key inference.tines; nearest: inference.times"),
    (["model=lenet"], "the network was trained with it"),
    (["dataset.name=mnist"], "the network was trained with it"),
    (["dataset=mnist"], "eval takes no other dataset"),
    (["task.weights=elsewhere"], "the network to evaluate is given as the first word"),
    (["run.start=elsewhere"], "the network to evaluate is given as the first word"),
    (["task.quantile=0", "tile=standard_hwa"], "task.quantile must be > 0, not 0"),
    (
        ["task.output_quantile=0.9"],
        "task.output_quantile means nothing here: no tile has an input range",
    ),
    (["task.calibration=men"], "task.calibration must be one of quantile, max"),
    (["layers={fc7:{algorithm:digital}}"], "model mlp has no layer 'fc7'; nearest: fc"),
)


@pytest.mark.parametrize(("words", "text"), BAD, ids=[words[0] for words, _ in BAD])
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    aihw: Aihw, run_dir: Path, words: list[str], text: str
) -> None:
    result = aihw("eval", str(run_dir), *words)
    assert (
        result.code == 2 and text in result.err and len(result.err.splitlines()) == 1
    ), result.err
    assert not (run_dir / "eval").exists()


def test_what_is_no_trained_network(aihw: Aihw, run_dir: Path, folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "w.pt").write_text("x")
    (folder / "empty").mkdir()
    solved = json.loads(
        aihw("train", "conf=linsolve", "task.size=20", "seeds=1", "--json").out
    )["folder"]
    for words, text in (
        (["nowhere"], "nowhere is no run folder: there is no such folder"),
        (["empty"], "empty is no run folder: it has no run.json"),
        (["notes.txt"], "notes.txt is neither a run folder nor a file of weights"),
        (["gone.pt", "model=mlp"], "there is no file gone.pt"),
        (["w.pt"], "w.pt holds tensors only: add model=NAME dataset=NAME"),
        (["w.pt", "model=mlp"], "w.pt is no file of torch that holds tensors alone"),
        (["inference=pcm"], "the run folder, or the file of weights, comes first"),
        ([solved], "is a run of the task solve"),
    ):
        result = aihw("eval", *words)
        assert (
            result.code == 2
            and text in result.err
            and len(result.err.splitlines()) == 1
        ), result.err
    (run_dir / "checkpoint").rename(run_dir / "gone")
    result = aihw("eval", str(run_dir))
    assert (
        result.code == 2
        and "has no checkpoint any more" in result.err
        and not (run_dir / "eval").exists()
    )
    again = result.err.partition("`aihw ")[2].partition("`")[0].split()
    assert (
        aihw(*again).code == 0 and len(list(run_dir.parent.glob("*/checkpoint"))) == 1
    )


@pytest.fixture
def swept(aihw: Aihw, run_dir: Path) -> Result:
    """Two evaluations of one run that differ in the resolution of their DACs."""
    result = aihw("eval", str(run_dir), *SHORT, "-m", "tile.forward.inp_res=0.01,0.5")
    assert result.code == 0
    return result


def test_a_sweep_has_runs_a_table_and_a_plot(
    aihw: Aihw, run_dir: Path, swept: Result
) -> None:
    (sweep,) = (run_dir / "eval").glob("sweep-*")
    rows = list(csv.DictReader((sweep / "accuracy.csv").open()))
    assert {row["tile.forward.inp_res"] for row in rows} == {"0.01", "0.5"}
    assert {row["after"] for row in rows} == {"1 s", "1 y"}
    assert (sweep / "accuracy.png").stat().st_size > 1000
    assert f"plot  {sweep / 'accuracy.png'}" in swept.out
    # Each point is the run that the same command without -m finds again.
    alone = aihw("eval", str(run_dir), *SHORT, "tile.forward.inp_res=0.5", "--json")
    assert "finished" in alone.out
    (mean,) = (
        float(row["mean"])
        for row in rows
        if row["tile.forward.inp_res"] == "0.5"
        and row["after"] == "1 y"
        and row["compensation"] == "global"
    )
    assert json.loads(alone.out)["accuracy"] == mean
    assert len(list((run_dir / "eval").glob("*-1/summary.json"))) == 2


def test_a_sweep_is_resumed_where_a_point_is_missing(
    aihw: Aihw, run_dir: Path, swept: Result
) -> None:
    (sweep,) = (run_dir / "eval").glob("sweep-*")
    lost = next((run_dir / "eval").glob("*-1"))
    table = (sweep / "accuracy.csv").read_text()
    (sweep / "accuracy.csv").unlink()
    shutil.rmtree(lost)
    again = aihw("resume", str(sweep))
    assert again.code == 0 and "1 of 2 runs to do" in again.out
    assert (sweep / "accuracy.csv").read_text() == table


@pytest.mark.parametrize(
    "words, message",
    [
        (["-m", "inference=pcm"], "no key has several values"),
        (["-m", "optimizer.lr=0.1,0.2"], "the network was trained with it"),
        (["-m", "run.dir=a,b"], "run.dir cannot be swept"),
        (["-m", "tile.forward.inp_ress=0.1,0.2"], "nearest: tile.forward.inp_res"),
        (["tile.forward.inp_res=0.1,0.2"], "add -m for a sweep"),
        (["--jobs", "2"], "--jobs: one evaluation, no sweep: add -m"),
    ],
)
def test_wrong_sweeps_are_refused_in_a_line(
    aihw: Aihw, run_dir: Path, words: list[str], message: str
) -> None:
    result = aihw("eval", str(run_dir), *words)
    assert result.code == 2 and message in result.err
    assert not (run_dir / "eval").exists()
