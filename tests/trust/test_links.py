"""Nothing is written, removed or read through a link inside a run folder, and nothing in it blocks:
a folder may have been unpacked from anywhere."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.experiment.runs import RunFolder, has_metrics, run_status
from engine.experiment.train import resume, train
from engine.settings import UserError
from engine.trust import files
from tests.experiment.helpers import Recorder, run, small_config

WRITTEN = ("lock", "log.txt", "run.json", "metrics.csv", "summary.json", "checkpoint")
UNFINISHED = (
    "run.json.unfinished",
    "metrics.csv.unfinished",
    "summary.json.unfinished",
    "checkpoint/000002-000000000.unfinished",
)


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A pipe that is opened would block the test for ever."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it blocks"))
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside, with files that must stay as they are."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious\n")
    (outside / "000001-000000000").mkdir()
    (outside / "000001-000000000" / "state.json").write_text("precious\n")
    return outside


def unharmed(victim: Path) -> bool:
    """Whether everything outside is as it was."""
    found = sorted(p.relative_to(victim).as_posix() for p in victim.rglob("*"))
    texts = {p.read_text() for p in victim.rglob("*") if p.is_file()}
    return found == [
        "000001-000000000",
        "000001-000000000/state.json",
        "file",
    ] and texts == {"precious\n"}


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run that lacks an epoch."""
    folder = run(small_config(tmp_path / "runs", run={"epochs": 1}))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    (folder / "summary.json").unlink()
    return folder


def replace(path: Path, target: Path) -> None:
    """A link in the place of a file or folder."""
    if path.is_dir():
        files.remove_tree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", (*WRITTEN, *UNFINISHED))
def test_a_link_is_not_followed(interrupted: Path, victim: Path, name: str) -> None:
    target = victim if name.startswith("checkpoint") else victim / "file"
    replace(interrupted / name, target)
    try:
        resume(interrupted, Recorder())
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    assert unharmed(victim)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_to_nowhere_makes_nothing(
    interrupted: Path, victim: Path, name: str
) -> None:
    replace(interrupted / name, victim / "new")
    try:
        resume(interrupted, Recorder())
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    assert unharmed(victim)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [pipe, endless, loop])
@pytest.mark.parametrize("name", [*WRITTEN[:-1], "config.yaml"])
def test_nothing_blocks(
    interrupted: Path, name: str, make: Callable[[Path], None]
) -> None:
    (interrupted / name).unlink(missing_ok=True)
    make(interrupted / name)
    for read in (run_status, has_metrics, lambda folder: resume(folder, Recorder())):
        try:
            read(interrupted)
        except UserError as error:
            assert len(str(error).splitlines()) == 1


def test_a_run_folder_may_be_reached_by_a_link(interrupted: Path) -> None:
    latest = interrupted.with_name("latest")
    latest.symlink_to(interrupted.name)
    assert resume(latest, Recorder())["status"] == "finished"
    assert run_status(interrupted) == "finished"


@pytest.mark.parametrize("depth", ["eval", "eval/x"])
def test_an_evaluation_stays_in_its_run(
    interrupted: Path, victim: Path, depth: str
) -> None:
    place = interrupted / depth
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(victim)
    folder = interrupted / "eval" / "x"
    with pytest.raises(UserError, match="it is a link"):
        train(small_config(interrupted), folder, Recorder())
    assert unharmed(victim)


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    path = tmp_path / "small" / "x-1"
    left, fresh, other = (
        path.parent / f".new-{name}-00" for name in ("x-1", "x-1-1", "y-1")
    )
    for place in (left, fresh, other):
        place.mkdir(parents=True)
    for place in (left, other):
        os.utime(place, (0, 0))
    busy = path.parent / ".new-x-1-11"
    busy.mkdir()
    os.utime(busy, (0, 0))
    with files.lock(busy / "lock"):
        os.utime(busy, (0, 0))
        with RunFolder.create(path, config):
            assert not left.exists() and all(p.exists() for p in (fresh, other, busy))


@pytest.mark.parametrize("make", [pipe, endless, loop, Path.mkdir])
def test_only_ordinary_files_are_read(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "x")
    for follow in (True, False):
        with pytest.raises(OSError):
            files.read_text(tmp_path / "x", follow=follow)


def test_a_file_that_no_one_wrote_by_hand_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_LIMIT", 1 << 20)
    (tmp_path / "x").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(OSError, match="larger than 1 MB"):
        files.read_text(tmp_path / "x")


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    with files.lock(tmp_path / "lock", "me"):
        assert files.is_locked(tmp_path / "lock")
        with pytest.raises(files.Held, match="me"):
            files.lock(tmp_path / "lock", "you")
    assert not files.is_locked(tmp_path / "lock")
    with files.lock(tmp_path / "lock", "you"):
        assert (tmp_path / "lock").read_text() == "you"
