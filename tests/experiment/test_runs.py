"""Run folders: what names them, that they appear whole, their lock, and what is no run."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from engine.experiment.files import write_json
from engine.experiment.runs import (
    RunFolder,
    read_config,
    read_record,
    read_summary,
    run_folder,
    run_status,
    stored_config,
)
from engine.settings import UserError
from engine.trust import files
from engine.trust.files import write_bytes
from tests.experiment.helpers import small_config


def test_name_is_recipe_hash_and_seed(tmp_path: Path) -> None:
    path = run_folder(small_config(tmp_path))
    assert path.parent == tmp_path / "small" and path.name.endswith("-7")
    assert len(path.name.partition("-")[0]) == 12


def test_recipe_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    path = run_folder({**small_config(tmp_path), "name": "../../etc/x y"})
    assert path.parent.parent == tmp_path


def test_again_takes_the_first_free_name(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    first = run_folder(config, again=True)
    assert first == run_folder(config)
    first.mkdir(parents=True)
    second = run_folder(config, again=True)
    assert second.name == first.name + "-2"
    second.mkdir()
    assert run_folder(config, again=True).name == first.name + "-3"


def test_folder_is_made_whole_and_locked(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    path = run_folder(config)
    assert run_status(path) == "absent"
    with RunFolder.create(path, config) as run:
        assert run_status(path) == "running"
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        with pytest.raises(
            UserError, match=rf"in use by process {os.getpid()}"
        ) as caught:
            RunFolder.open(path)
        assert len(str(caught.value).splitlines()) == 1
        with pytest.raises(UserError, match="in use"):
            RunFolder.create(path, config)
        run.update(note="x")
    assert run_status(path) == "interrupted"
    assert read_config(path) == config
    record = read_record(path)
    assert record["note"] == "x" and record["seed"] == 7 and record["versions"]["torch"]
    assert any("Kaynak" in text for text in record["citations"])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    RunFolder.open(path).__exit__()


def test_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        UserError, match=r"cannot write the run folder in .*: No space left on device"
    ):
        RunFolder.create(run_folder(config), config)
    assert list((tmp_path / "small").iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "small").write_text("a file where the folder should be")
    config = small_config(tmp_path)
    with pytest.raises(
        UserError,
        match=r"cannot write the run folder in .*: (Not a directory|File exists)",
    ) as caught:
        RunFolder.create(run_folder(config), config)
    assert len(str(caught.value).splitlines()) == 1


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no run\.json"):
        run_status(tmp_path)
    with pytest.raises(UserError, match="is no run folder: there is no such folder"):
        read_record(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": "x", "status": 1}']
)
def test_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        run_status(tmp_path)


def test_newer_version(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    path = run_folder(config)
    with RunFolder.create(path, config) as run:
        run.update(format=99)
    with pytest.raises(UserError, match="newer version of aihw"):
        RunFolder.open(path)


def test_damaged_config_and_summary(tmp_path: Path) -> None:
    for content in ("a: [", "just words", ""):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(UserError, match=r"config\.yaml is"):
            read_config(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary\.json is missing or damaged"):
        read_summary(tmp_path)


def test_stored_config_can_be_used_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(
        tmp_path, device={"model": "my/dev.py:Mine"}, dataset={"root": "../data"}
    )
    before = copy.deepcopy(config)
    stored = stored_config(config)
    assert stored["device"]["model"] == f"{tmp_path}/my/dev.py:Mine"
    assert Path(stored["dataset"]["root"]).is_absolute() and config == before


def test_write_keeps_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(
                files.os,
                name,
                lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")),
            )
            with pytest.raises(OSError, match="broken"):
                write_bytes(path, b"new")
        assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == [
            "file"
        ]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_json_is_plain_even_with_numbers_it_lacks(tmp_path: Path) -> None:
    write_json(
        tmp_path / "x.json",
        {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}},
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "a": None,
        "b": [None, 1.5],
        "c": {"d": None},
    }


def test_run_folder_that_was_moved_still_is_one(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    path = run_folder(config)
    RunFolder.create(path, config).__exit__()
    shutil.move(path, tmp_path / "kept")
    with RunFolder.open(tmp_path / "kept") as run:
        assert run.record["id"] == f"small/{path.name}"
