"""A checkpoint is whole or absent: crashes at every step of its writing, full disks, damage, other
versions."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment import checkpoint
from engine.experiment.checkpoint import load_checkpoint, save_checkpoint
from engine.settings import UserError
from engine.trust import files

STEPS = ("fsync", "rename", "mkdir", "open")


class Crash(BaseException):
    """Ends the process as far as the code can tell: nothing that catches OSError or Exception
    runs."""


def save(folder: Path, number: int) -> None:
    tensors = {
        "w": torch.full((3, 4), float(number)),
        "view": torch.arange(12.0).view(3, 4).t()[1:],
    }
    save_checkpoint(folder, (number, 0), tensors=tensors, state={"number": number})


def number_in(folder: Path) -> int | None:
    found = load_checkpoint(folder)
    if found is None:
        return None
    tensors, state, _ = found
    assert torch.equal(tensors["w"], torch.full((3, 4), float(state["number"])))
    assert torch.equal(tensors["view"], torch.arange(12.0).view(3, 4).t()[1:])
    return int(state["number"])


def stop_at(
    monkeypatch: pytest.MonkeyPatch, count: int, problem: Callable[[], BaseException]
) -> list[str]:
    """Let the `count`-th call that changes the disk raise, after half of it was done where it can
    be half done."""
    calls: list[str] = []

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **more: Any) -> Any:
            calls.append(name)
            if len(calls) == count:
                raise problem()
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, call)

    def half_write(path: Path, content: bytes) -> None:
        calls.append("write")
        with path.open("wb") as file:
            file.write(content[: len(content) // 2] if len(calls) == count else content)
            file.flush()
            if len(calls) == count:
                raise problem()
            os.fsync(file.fileno())

    wrap(os, "fsync")
    wrap(os, "rename")
    wrap(files.shutil, "rmtree")
    monkeypatch.setattr(files, "write_new", half_write)
    return calls


def count_calls(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    with monkeypatch.context() as patch:
        calls = stop_at(patch, -1, Crash)
        for number in (1, 2, 3):
            save(folder, number)
    return len(calls)


def test_saved_is_loaded(tmp_path: Path) -> None:
    assert number_in(tmp_path / "checkpoint") is None
    for number in (1, 2, 3, 10):
        save(tmp_path / "checkpoint", number)
        assert number_in(tmp_path / "checkpoint") == number
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2


def test_crash_at_every_step_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = count_calls(monkeypatch, tmp_path / "dry")
    assert total > 20
    for stop in range(1, total + 1):
        folder = tmp_path / f"stop-{stop}"
        finished = 0
        with monkeypatch.context() as patch:
            stop_at(patch, stop, Crash)
            with pytest.raises(Crash):
                for number in (1, 2, 3):
                    save(folder, number)
                    finished = number
        assert number_in(folder) in ((finished or None), finished + 1)
        save(folder, 4)
        assert number_in(folder) == 4


def test_full_disk_at_every_step_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = count_calls(monkeypatch, tmp_path / "dry")
    for stop in range(1, total + 1):
        folder = tmp_path / f"stop-{stop}"
        finished = 0
        with monkeypatch.context() as patch:
            stop_at(
                patch, stop, lambda: OSError(errno.ENOSPC, "No space left on device")
            )
            try:
                for number in (1, 2, 3):
                    save(folder, number)
                    finished = number
            except OSError:
                pass
        assert number_in(folder) in ((finished or None), finished + 1)


def newest(folder: Path) -> Path:
    return sorted(folder.iterdir())[-1]


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "tensors truncated": lambda p: os.truncate(p / "tensors.safetensors", 100),
    "tensors empty": lambda p: os.truncate(p / "tensors.safetensors", 0),
    "one bit of a tensor": lambda p: flip(p / "tensors.safetensors", -3),
    "tensors missing": lambda p: (p / "tensors.safetensors").unlink(),
    "state truncated": lambda p: os.truncate(p / "state.json", 90),
    "state empty": lambda p: os.truncate(p / "state.json", 0),
    "one bit of the state": lambda p: flip(p / "state.json", 80),
    "state missing": lambda p: (p / "state.json").unlink(),
    "state is no text": lambda p: (p / "state.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_falls_back_and_says_so(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    DAMAGES[damage](newest(tmp_path))
    found = load_checkpoint(tmp_path)
    assert found is not None and found[1]["number"] == 1
    assert len(found[2]) == 1 and str(newest(tmp_path)) in found[2][0]
    # Going on from the older one passes the damaged place again and replaces it.
    save(tmp_path, 2)
    assert number_in(tmp_path) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_but_damaged_checkpoints_is_refused_in_one_line(
    tmp_path: Path, damage: str
) -> None:
    save(tmp_path, 1)
    DAMAGES[damage](newest(tmp_path))
    with pytest.raises(UserError, match="no usable checkpoint") as caught:
        load_checkpoint(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_newer_version_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = newest(tmp_path) / "state.json"
    body = json.loads(path.read_text().partition("\n")[2])
    path.write_bytes(checkpoint._signed({**body, "format": checkpoint.FORMAT + 1}))
    with pytest.raises(UserError, match="newer version"):
        load_checkpoint(tmp_path)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    save(tmp_path, 1)
    files = {path.name for path in newest(tmp_path).iterdir()}
    assert files == {"tensors.safetensors", "state.json"}
