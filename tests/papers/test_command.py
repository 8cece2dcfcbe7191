"""`aihw reproduce`: lists, runs what is missing, recognises what is there, and refuses what is not
the paper's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.papers.conftest import Result, figure_text, record, record_all, write

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def _anew() -> None:
    from aihw_cli.papers.collect import forget

    forget()


def test_runs_each_point_once_and_then_only_reads(
    paper: Path, aihw: Call, folder: Path
) -> None:
    first = aihw("reproduce", "toy2020/fig1", "--scaled")
    assert first.code == 0 and "4 runs to do" in first.out
    runs = sorted(folder.glob("runs/toy2020-fig1-scaled/*/summary.json"))
    assert len(runs) == 4
    assert "SMALLER" in first.out and "judged by ordering only" in first.out
    assert first.out.strip().splitlines()[-1].startswith("ordering: ")
    times = [path.stat().st_mtime_ns for path in runs]
    second = aihw("reproduce", "toy2020/fig1", "--scaled")
    assert second.code == 0 and "runs to do" not in second.out
    assert [path.stat().st_mtime_ns for path in runs] == times
    assert second.out.strip().splitlines()[-1] == first.out.strip().splitlines()[-1]


def test_a_run_of_aihw_train_is_recognised(paper: Path, aihw: Call) -> None:
    words = aihw("reproduce", "toy2020/fig1", "--scaled", "--commands").out.splitlines()
    assert len(words) == 4 and all(
        line.startswith("aihw train conf=toy2020/fig1 ") for line in words
    )
    assert aihw(*words[2].split()[1:]).code == 0
    found = json.loads(
        aihw("reproduce", "toy2020/fig1", "--scaled", "--read", "--json").out
    )
    assert [len(p["values"]) for p in found["points"]] == [0, 1]
    assert found["kind"] == "ordering" and found["told"].endswith("1 of 4 runs")


def test_tells_got_beside_published(paper: Path, aihw: Call) -> None:
    record_all()
    out = aihw("reproduce", "toy2020/fig1", "--read").out
    assert "published" in out and "in tolerance" in out and "± 0.5" in out
    assert (
        out.strip().splitlines()[-1]
        == "reproduced: 2 of 2 values in tolerance; 1 of 1 orderings hold"
    )


def test_memory_is_shown_as_to_be_checked(folder: Path, aihw: Call) -> None:
    write(folder / "experiments/toy2020/fig1.yaml", figure_text(grade="MEM"))
    record_all()
    for words in (["--read"], ["--list"], ["--list", "--markdown"]):
        out = aihw("reproduce", "toy2020/fig1", *words).out.partition(
            "How an expected value is known"
        )
        text = out[0] + out[2].partition("\n")[2]
        assert (
            "to be checked" in text
            and "published |" not in text
            and "published  " not in text
        )
        assert "**reproduced**, " not in text and "in tolerance" not in text
    assert "ordering: 1 of 1" in aihw("reproduce", "toy2020/fig1", "--read").out


def test_list_shows_the_last_result_of_each_figure(
    paper: Path, aihw: Call, folder: Path
) -> None:
    write(
        folder / "experiments/toy2020/fig2.yaml", figure_text(needs="a GPU with 1 TB")
    )
    record_all()
    lines = aihw("reproduce", "toy2020", "--list").out.splitlines()
    assert "reproduced" in lines[1] and "4 x 0.1 min" in lines[1]
    assert "not run here" in lines[2] and "a GPU with 1 TB" in lines[2]


def test_list_prefers_the_full_version(paper: Path, aihw: Call) -> None:
    record("run.epochs=1", "name=toy2020/fig1-scaled", error=5)
    assert "ordering (smaller version)" in aihw("reproduce", "toy2020", "--list").out
    record_all()
    from aihw_cli.papers.collect import forget

    forget()
    assert "smaller version" not in aihw("reproduce", "toy2020", "--list").out


def test_runs_of_another_configuration_do_not_count(paper: Path, aihw: Call) -> None:
    record("optimizer.lr=0.2", seed=1)
    record("algorithm=digital", seed=3)
    found = json.loads(aihw("reproduce", "toy2020/fig1", "--read", "--json").out)
    assert found["kind"] == "not run here" and not any(
        p["values"] for p in found["points"]
    )


def test_unfinished_and_damaged_runs_do_not_count(paper: Path, aihw: Call) -> None:
    record_all()
    place = record(seed=1)
    write(
        place / "run.json",
        (place / "run.json").read_text().replace('"finished"', '"interrupted"'),
    )
    write(record(seed=2) / "summary.json", "{")
    found = json.loads(aihw("reproduce", "toy2020/fig1", "--read", "--json").out)
    assert [len(p["values"]) for p in found["points"]] == [2, 0]


def test_runs_made_with_other_physics_count_and_are_named(
    paper: Path, aihw: Call, monkeypatch: object
) -> None:
    record_all()
    assert "other physics" not in aihw("reproduce", "toy2020/fig1", "--read").out
    for path in Path("runs/toy2020-fig1").glob("*/run.json"):
        entry = json.loads(path.read_text())
        path.write_text(json.dumps({**entry, "hash": "0" * 12}))
    assert "other physics" in aihw("reproduce", "toy2020/fig1", "--read").out


def test_markdown_holds_table_cost_and_kinds(paper: Path, aihw: Call) -> None:
    record_all()
    page = aihw("reproduce", "toy2020", "--list", "--markdown").out
    assert "1 figures: 1 reproduced, 0 ordering, 0 not run here." in page
    assert (
        "| digital | 2.15 ± 0.07 | 2/2 | 2.00 | +0.15 | ± 0.5 | in tolerance |" in page
    )
    assert "4 runs of 2 epochs, 0.00 h, commit 01234567." in page


@pytest.mark.parametrize(
    "words, expected",
    [
        (["toy2002"], "nearest: toy2020"),
        (["toy2020/fig9"], "nearest: toy2020/fig1"),
        (["toy2020", "optimizer.lr=0.3"], "keeps to the paper"),
        (["toy2020", "run.epochs=1"], "keeps to the paper"),
        (["toy2020", "wu2004"], "no paper or figure 'wu2004'"),
        (["toy2020", "--time-limit", "soon"], "--time-limit takes minutes"),
        (["toy2020", "--scale"], "nearest: --scaled"),
    ],
)
def test_bad_input_is_told_in_at_most_two_lines(
    paper: Path, aihw: Call, words: list[str], expected: str
) -> None:
    found = aihw("reproduce", *words)
    assert (
        found.code == 2
        and expected in found.err
        and len(found.err.strip().splitlines()) <= 2
    )


def test_several_figures_in_one_pass(paper: Path, aihw: Call, folder: Path) -> None:
    """The longest run first, what the figures share only once, every figure told."""
    points = {"pulsed": [], "slow": ["optimizer.lr=0.3"]}
    scaled = {"set": ["run.epochs=1"], "minutes": {"all": 0.05, "slow": 3}}
    text = figure_text(points=points, expected=None, order=["slow > 0"], scaled=scaled)
    write(folder / "experiments/toy2020/fig2.yaml", text)
    first = aihw(
        "reproduce", "toy2020/fig1-scaled", "toy2020/fig2-scaled", "--jobs", "2"
    )
    assert (
        first.code == 0
        and "2 figures: 6 runs to do; about 0.1 h of one core" in first.out
    )
    manifest = json.loads(next(folder.glob("runs/reproduce-*/sweep.json")).read_text())
    jobs = [manifest["points"][job["point"]] for job in manifest["jobs"]]
    assert [job["point"] for job in jobs] == [
        "slow",
        "slow",
        "digital",
        "digital",
        "pulsed",
        "pulsed",
    ]
    assert jobs[0]["figure"] == "toy2020/fig2-scaled"
    assert len(list(folder.glob("runs/toy2020-fig1-scaled/*/summary.json"))) == 4
    assert len(list(folder.glob("runs/toy2020-fig2-scaled/*/summary.json"))) == 2
    assert first.out.count("(smaller version): ") == 2 and first.out.count("2/2") == 4
    assert "runs to do" not in aihw("reproduce", "toy2020", "--scaled").out


def test_a_group_leaves_out_what_needs_more(
    paper: Path, aihw: Call, folder: Path
) -> None:
    write(
        folder / "experiments/toy2020/fig2.yaml", figure_text(needs="a GPU with 1 TB")
    )
    write(
        folder / "experiments/toy2020/fig3.yaml",
        figure_text().replace("dataset:", "dataset:\n  name: mnist"),
    )
    record_all()
    found = aihw("reproduce", "toy2020")
    assert found.code == 1 and "runs to do" not in found.out
    assert (
        "left out: toy2020/fig2: a GPU with 1 TB" in found.out
        and "left out: toy2020/fig3: " in found.out
    )
    assert aihw("reproduce", "toy2020/fig3").code == 2


def test_what_all_figures_lack_is_told_once(
    paper: Path, aihw: Call, folder: Path
) -> None:
    text = figure_text().replace("dataset:", "dataset:\n  name: mnist")
    for number in range(1, 5):
        write(folder / f"experiments/toy2020/fig{number}.yaml", text)
    found = aihw("reproduce", "toy2020")
    assert found.code == 2 and found.out == ""
    assert found.err.startswith(
        "error: none of these 4 figures can run: dataset.root: no train-"
    )
    assert len(found.err.splitlines()) == 2
    write(folder / "experiments/toy2020/fig4.yaml", figure_text())
    some = aihw("reproduce", "toy2020", "--scaled", "--time-limit", "1e-9")
    assert some.out.count("dataset.root: no train-") == 1
    assert "left out: toy2020/fig1, toy2020/fig2, toy2020/fig3: " in some.out


def test_a_pass_ends_at_its_time_limit_and_goes_on(
    paper: Path, aihw: Call, folder: Path
) -> None:
    found = aihw("reproduce", "toy2020/fig1", "--time-limit", "1e-9")
    assert (
        found.code == 130
        and "the time is over" in found.out
        and "aihw resume" in found.out
    )
    assert found.out.strip().splitlines()[-1].startswith("not run here")
    assert not list(folder.glob("runs/toy2020-fig1/*/summary.json"))
    place = next(folder.glob("runs/toy2020-fig1/reproduce-*"))
    assert aihw("resume", str(place)).code == 0
    assert len(list(folder.glob("runs/toy2020-fig1/*/summary.json"))) == 4


def test_a_later_pass_may_change_how_runs_are_made(
    paper: Path, aihw: Call, folder: Path
) -> None:
    assert (
        aihw("reproduce", "toy2020/fig1", "--scaled", "--time-limit", "1e-9").code != 0
    )
    assert aihw("reproduce", "toy2020/fig1", "--scaled", "run.threads=3").code == 0
    runs = sorted(folder.glob("runs/toy2020-fig1-scaled/*/run.json"))
    assert [json.loads(path.read_text())["threads"] for path in runs] == [3] * 4


def test_no_smaller_version(folder: Path, aihw: Call) -> None:
    write(folder / "experiments/toy2020/fig1.yaml", figure_text(scaled=None))
    found = aihw("reproduce", "toy2020/fig1", "--scaled")
    assert found.code == 2 and "no smaller version" in found.err


def test_evaluated_figures_train_program_and_test(folder: Path, aihw: Call) -> None:
    points = {
        "at once": [],
        "1 d": ["eval.after=1d"],
        "1 d alone": ["eval.after=1d", "eval.compensation=none"],
    }
    evaluate = ["inference=pcm", "inference.times=[1d]", "inference.repeats=1"]
    changes = {
        "points": points,
        "evaluate": evaluate,
        "metric": "evaluated_error",
        "expected": None,
        "scaled": None,
    }
    text = figure_text(**changes, order=["at once < 1 d + 100"]).replace(
        "seeds: 2", "seeds: 1\nalgorithm: {name: digital}"
    )
    write(folder / "experiments/toy2020/fig1.yaml", text)
    found = aihw("reproduce", "toy2020/fig1")
    assert found.code == 0, found.err
    assert len(list(folder.glob("runs/toy2020-fig1/*-1/summary.json"))) == 1
    assert len(list(folder.glob("runs/toy2020-fig1/*-1/eval/*/summary.json"))) == 1
    values = json.loads(aihw("reproduce", "toy2020/fig1", "--read", "--json").out)[
        "points"
    ]
    assert [len(p["values"]) for p in values] == [1, 1, 1]
    assert "runs to do" not in aihw("reproduce", "toy2020/fig1").out
    assert (
        " 1 run of 2 epochs, "
        in aihw("reproduce", "toy2020", "--list", "--markdown").out
    )


def test_floating_point_counts_whatever_its_unused_cells_are(
    paper: Path, aihw: Call
) -> None:
    record("algorithm=digital", "device=ecram", "tile=perfect", error=1.9)
    found = json.loads(aihw("reproduce", "toy2020/fig1", "--read", "--json").out)
    assert [len(p["values"]) for p in found["points"]] == [1, 0]


def test_parts_that_decide_nothing_may_be_of_another_version(
    paper: Path, aihw: Call
) -> None:
    place = record(seed=1)
    text = (
        (place / "config.yaml")
        .read_text(encoding="utf-8")
        .replace("inference:\n", "inference:\n  gone: 1\n")
    )
    assert "gone" in text
    write(place / "config.yaml", text)
    found = json.loads(aihw("reproduce", "toy2020/fig1", "--read", "--json").out)
    assert [len(p["values"]) for p in found["points"]] == [0, 1]
