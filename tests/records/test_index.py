"""The index of runs: it follows the folders, survives damage, is fast, and is shared by
processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.experiment.runs import FORMAT, RunFolder
from engine.records import index
from engine.records.index import find_runs, index_path
from engine.settings import UserError
from tests.records.helpers import config, points, write_run, write_sweep

ROOT = Path(__file__).parents[2]


def values(root: Path, key: str = "test_accuracy") -> list[object]:
    """One value of every run found."""
    return [run.value(key) for run in find_runs([root]).runs]


def test_runs_are_found_at_any_depth_oldest_first(tmp_path: Path) -> None:
    written = [
        write_run(tmp_path / place, config(), number=n)
        for n, place in enumerate(("b", "a/x", "a"))
    ]
    (tmp_path / "a" / "notes").mkdir()
    shutil.copytree(written[0], tmp_path / "a" / ".new-unfinished")
    found = find_runs([tmp_path])
    assert [run.folder for run in found.runs] == written and not found.problems


def test_a_folder_named_twice_gives_its_runs_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path, config())
    assert len(find_runs([tmp_path, folder, folder.parent]).runs) == 1


def test_links_add_no_runs_and_those_that_lead_elsewhere_are_named(
    tmp_path: Path,
) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    first = write_run(root, config(seed=1))
    write_run(other, config(seed=2))
    (first.parent / "a-link").symlink_to(first.name)
    (root / "latest").symlink_to(first)
    (first.parent / "up").symlink_to("..")
    (root / "self").symlink_to(".")
    (root / "nowhere").symlink_to("missing")
    (root / "elsewhere").symlink_to(other)
    for _ in range(2):
        found = find_runs([root])
        assert [run.value("seed") for run in found.runs] == [1]
        assert len(found.problems) == 1
        assert found.problems[0].startswith(f"{root / 'elsewhere'} is a link")
    assert [run.value("seed") for run in find_runs([root / "elsewhere"]).runs] == [2]


def test_many_links_to_a_folder_above_do_not_multiply(tmp_path: Path) -> None:
    write_run(tmp_path, config())
    for number in range(20):
        (tmp_path / f"l{number}").symlink_to(".")
    assert len(find_runs([tmp_path]).runs) == 1


def test_a_link_in_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    first, second = (
        write_run(tmp_path, config(seed=1)),
        write_run(tmp_path, config(seed=2)),
    )
    (second / "summary.json").unlink()
    (second / "summary.json").symlink_to(first / "summary.json")
    found = find_runs([tmp_path])
    assert len(found.problems) == 1 and "it is a link" in found.problems[0]


def test_a_run_that_could_not_be_read_is_read_when_it_can(tmp_path: Path) -> None:
    folder = write_run(tmp_path, config())
    hidden = folder / "config.yaml"
    real = index.config_texts

    def refuse(_: Path) -> None:
        raise UserError("no permission")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "config_texts", refuse)
        assert not find_runs([tmp_path]).runs
    assert index.config_texts is real
    hidden.chmod(0o600)
    hidden.chmod(0o644)
    assert len(find_runs([tmp_path]).runs) == 1


def test_without_a_home_folder_there_is_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, config())
    monkeypatch.delenv("AIHW_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home"))
    )
    assert len(find_runs([tmp_path]).runs) == 1


def test_the_index_follows_the_folders(tmp_path: Path) -> None:
    first, second = (
        write_run(tmp_path, config(seed=1)),
        write_run(tmp_path, config(seed=2)),
    )
    assert len(values(tmp_path)) == 2
    summary = json.loads((first / "summary.json").read_text())
    (first / "summary.json").write_text(json.dumps({**summary, "test_accuracy": 0.125}))
    shutil.rmtree(second)
    write_run(tmp_path, config(seed=3))
    assert sorted(values(tmp_path, "seed")) == [1, 3] and 0.125 in values(tmp_path)
    text = (first / "config.yaml").read_text()
    (first / "config.yaml").write_text(text.replace("dw_min: 0.001", "dw_min: 0.5"))
    assert 0.5 in values(tmp_path, "device.dw_min")


def test_unchanged_runs_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(tmp_path, 6)
    before = find_runs([tmp_path]).runs
    monkeypatch.setattr(
        index, "read_values", lambda folder: pytest.fail(f"{folder} is read again")
    )
    after = find_runs([tmp_path]).runs
    assert [vars(run) for run in after] == [vars(run) for run in before]


@pytest.mark.parametrize("damage", ["delete", "rubbish", "cut", "older"])
def test_an_index_that_cannot_be_used_is_made_anew(tmp_path: Path, damage: str) -> None:
    root = tmp_path / "runs"
    write_sweep(root, 6)
    expected, path = values(root), index_path(root)
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "older":
        import sqlite3

        with sqlite3.connect(path) as base:
            base.execute(f"PRAGMA user_version = {index.VERSION + 1}")
            base.execute("DROP TABLE parts")
    else:
        path.write_bytes(
            b"rubbish" * 1000 if damage == "rubbish" else content[: len(content) // 2]
        )
    assert values(root) == expected and path.is_file()
    assert values(root) == expected


def test_without_a_usable_cache_the_folders_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", config())
    (tmp_path / "file").write_text("where the cache should be")
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "file" / "cache"))
    assert len(values(tmp_path / "runs")) == 1


def test_broken_runs_are_told_and_the_others_listed(tmp_path: Path) -> None:
    write_run(tmp_path, config(seed=1))
    write_run(tmp_path, config(seed=2), format=FORMAT + 1)
    (write_run(tmp_path, config(seed=3)) / "run.json").write_text("{")
    (write_run(tmp_path, config(seed=4)) / "config.yaml").write_text("a: [")
    (write_run(tmp_path, config(seed=5)) / "config.yaml").unlink()
    for _ in range(2):
        found = find_runs([tmp_path])
        assert [run.record["seed"] for run in found.runs] == [1]
        assert len(found.problems) == 4 and all(
            len(line.splitlines()) == 1 for line in found.problems
        )
        assert any(
            f"newer version of aihw (format {FORMAT + 1})" in line
            for line in found.problems
        )


def test_a_run_with_a_broken_result_is_still_listed(tmp_path: Path) -> None:
    (write_run(tmp_path, config(seed=1)) / "summary.json").write_text("{")
    broken = write_run(tmp_path, config(seed=2), status="interrupted") / "metrics.csv"
    broken.write_text(broken.read_text() + "5,0.1,half a li")
    found = find_runs([tmp_path])
    assert [run.value("epochs") for run in found.runs] == [4, None]
    assert "summary.json is missing or damaged" in found.problems[0]
    assert f"{broken} line 6 is damaged" in found.problems[1]


def test_the_result_of_an_unfinished_run_is_its_last_epoch(tmp_path: Path) -> None:
    write_run(tmp_path, config(), status="failed")
    run = find_runs([tmp_path]).runs[0]
    assert (
        run.status == "failed"
        and run.value("epochs") == 4
        and run.value("test_loss") == 0.5
    )


def test_a_run_that_was_killed_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "made" / "000000000000-1"
    with RunFolder.create(path, config() | {"loss": {}}):
        assert values(tmp_path, "status") == ["running"]
    assert values(tmp_path, "status") == ["interrupted"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        find_runs([tmp_path / "nowhere"])


def _count(root: str) -> int:
    return len(find_runs([Path(root)]).runs)


def test_processes_may_look_at_the_same_time(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs", 120)
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        assert pool.map(_count, [str(tmp_path / "runs")] * 6, chunksize=1) == [120] * 6


def _listing(root: Path, *words: str) -> tuple[float, list[str]]:
    """Seconds of a processor and lines of `aihw runs ls` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "aihw_cli",
        "runs",
        "ls",
        str(root),
        "--csv",
        *words,
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, done.stdout.splitlines()


def _many(root: Path, count: int) -> None:
    for number, values in enumerate(points(count)):
        write_run(root, values, number=number // 3)


def test_five_hundred_runs(tmp_path: Path) -> None:
    _many(tmp_path / "runs", 500)
    assert len(_listing(tmp_path / "runs")[1]) == 501
    lines = _listing(tmp_path / "runs", "optimizer.lr=0.1", "--seeds")[1]
    assert len(lines) == 1 + 42


@pytest.mark.slow
def test_ten_thousand_runs_in_two_seconds(tmp_path: Path) -> None:
    _many(tmp_path / "runs", 10_000)
    assert len(_listing(tmp_path / "runs")[1]) == 10_001
    seconds = [_listing(tmp_path / "runs")[0] for _ in range(3)]
    assert min(seconds) < 2
