"""Manifests that are cut off, changed or gone: refused with what to do, and no obstacle for
others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.sweeps.manifest import load
from aihw_cli.sweeps.stored import ANEW
from engine.settings import UserError
from tests.cli.conftest import Result
from tests.fuzz import stored

Aihw = Callable[..., Result]


@pytest.fixture
def sweep(folder: Path) -> Path:
    """The folder of a finished sweep, beside its two runs."""
    shutil.copytree(stored.sweep(), folder, dirs_exist_ok=True)
    return folder / "sweep"


CONTENTS = {
    "cut off": '{"format": 2, "wor',
    "nothing": "",
    "a list": "[]",
    "nested": "[" * 9000 + "]" * 9000,
    "no format": "{}",
    "only a format": '{"format": 2}',
}
CHANGES: dict[str, dict[str, Any]] = {
    "words": {"words": [1]},
    "options": {"options": {}},
    "gpus": {"options": {"jobs": 0, "gpus": [1], "retries": 2, "fail_fast": False}},
    "points no list": {"points": {}},
    "points no mappings": {"points": [1, 2]},
    "points with other keys": {"points": [{"optimizer.lr": "1"}, {"x": "1"}]},
    "points of numbers": {"points": [{"optimizer.lr": 1}, {"optimizer.lr": 2}]},
    "fewer points": {"points": [{"optimizer.lr": "1"}]},
    "jobs no list": {"jobs": 5},
    "jobs no mappings": {"jobs": [[]]},
    "jobs of nothing": {"jobs": [{}]},
    "search": {"search": {"metric": "x"}},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_texts(aihw: Aihw, sweep: Path, content: str) -> None:
    """What is no manifest."""
    (sweep / "sweep.json").write_text(content)
    refused(aihw, sweep, "sweep.json")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_entries(aihw: Aihw, sweep: Path, change: dict[str, Any]) -> None:
    """What does not fit together."""
    content = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**content, **change}))
    refused(aihw, sweep, "sweep.json")


@pytest.mark.parametrize("job", [
    {"point": 7}, {"point": -1}, {"point": "0"}, {"point": 0.5}, {"seed": True}, {"seed": -1}, {"status": "what"},
    {"folder": 5}, {"attempts": None}, {"x": 1},
])  # fmt: skip
def test_runs(aihw: Aihw, sweep: Path, job: dict[str, Any]) -> None:
    """What is no run."""
    content = json.loads((sweep / "sweep.json").read_text())
    content["jobs"][1].update(job)
    (sweep / "sweep.json").write_text(json.dumps(content))
    refused(aihw, sweep, "sweep.json")


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "{}", '{"run": []}', '{"run": {"epochs": "x"}}']
)
def test_points(aihw: Aihw, sweep: Path, line: str) -> None:
    """A configuration that nobody can run."""
    first = (sweep / "points.jsonl").read_text().splitlines()[0]
    (sweep / "points.jsonl").write_text(f"{first}\n{line}\n")
    refused(aihw, sweep, "points.jsonl")


@pytest.mark.parametrize("name", ["sweep.json", "points.jsonl"])
def test_lost_files(aihw: Aihw, sweep: Path, name: str) -> None:
    """And links, which are not followed."""
    (sweep / name).unlink()
    refused(aihw, sweep, name)
    (sweep / name).symlink_to("/dev/zero")
    refused(aihw, sweep, name)


def refused(aihw: Aihw, sweep: Path, name: str) -> None:
    """In a line, which says what to do; the runs are seen as ever."""
    result = aihw("resume", str(sweep))
    assert result.code == 2 and "Traceback" not in result.err and len(result.err) < 500
    assert f"{sweep / name} is missing or damaged" in result.err and ANEW in result.err
    result = aihw("runs", "ls", str(sweep.parent), "--json")
    assert result.code == 0 and len(json.loads(result.out)) == 2


def test_a_lost_result_is_one_run_to_do(sweep: Path) -> None:
    """The other points keep theirs."""
    whole = load(sweep)
    assert [job.status for job in whole.jobs] == ["finished", "finished"]
    (whole.jobs[0].folder / "summary.json").unlink()
    hurt = load(sweep)
    assert [job.status for job in hurt.jobs] == ["queued", "finished"]
    assert [row["runs"] for row in hurt.rows()] == ["1/1", "0/1"]
    with pytest.raises(UserError, match="delete the folder"):
        hurt.jobs[0].look()


def test_a_manifest_that_was_not_written_yet_stops_no_sweep(
    aihw: Aihw, folder: Path
) -> None:
    """A process that was killed between the two files leaves points alone: the same command goes
    on."""
    from aihw_cli.sweeps.plan import plan

    words = ("algorithm=digital", "optimizer.lr=0.01,0.02", *stored.SHORT)
    planned = plan(words, multirun=True)
    planned.save_points()
    assert not (planned.folder / "sweep.json").exists()
    result = aihw("train", "-m", *words, "--jobs", "2")
    assert result.code == 0 and len(load(planned.folder).jobs) == 2, result.err
