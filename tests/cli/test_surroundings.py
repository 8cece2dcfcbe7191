"""Terminals that close, readers that leave, folders that are gone, names that cannot be, and
machines that lack something: one line, and no run is lost."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aihw_cli import main as program
from aihw_cli.main import main
from aihw_cli.output import Enduring, enduring_streams, reason
from engine import memory
from engine.settings import UserError, user_path
from tests.cli.conftest import Result, write

Call = Callable[..., Result]
SMALL = (
    "algorithm=digital", "run.epochs=2", "dataset.train_samples=20", "dataset.test_samples=20",
    "run.threads=1",
)  # fmt: skip


def status() -> str:
    """How the only run of the current folder ended."""
    return str(json.loads(next(Path("runs").rglob("run.json")).read_text())["status"])


def broken_pipe() -> Any:
    """A stream whose reader has left."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


def closed_terminal() -> Any:
    """A stream on a terminal that was closed."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    os.close(master)
    return stream


@pytest.mark.parametrize("make", [broken_pipe, closed_terminal])
@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_run_goes_on_without_its_reader(
    folder: Path, make: Callable[[], Any], which: str
) -> None:
    with make() as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, which, stream)
        assert main(["train", *SMALL]) == 0
    assert status() == "finished"


@pytest.mark.parametrize(
    "words", [["ls"], ["--help"], ["show", "ecram"], ["ls", "--json"]]
)
def test_a_reader_that_leaves_is_no_error(words: list[str]) -> None:
    with broken_pipe() as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert main(words) == 0


def test_closed_streams(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with enduring_streams():
        print("nobody reads this", file=sys.stderr)
    words = [sys.executable, "-m", "aihw_cli", "ls", "run"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words], check=False
    )
    assert done.returncode == 0


def test_output_that_is_lost_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        code = main(["ls"])
    assert (
        code == 1 and "could not be written: No space left" in capsys.readouterr().err
    )


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        stream = Enduring(file)
        stream.write("a ± b")
        stream.flush()
    assert (tmp_path / "out").read_text() == r"a \xb1 b"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT]
)
def test_a_signal_before_the_run_begins(
    aihw: Call, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(program, "find_command", lambda _: os.kill(os.getpid(), number))
    result = aihw("train")
    assert result.code == 130 and result.err == "interrupted\n"
    assert signal.getsignal(number) == before


def test_an_ignored_hangup_stays_ignored(
    aihw: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return real(name)

    real = program.find_command
    monkeypatch.setattr(program, "find_command", find)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert aihw("ls", "run").code == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_deleted_folder(
    aihw: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for words in (["train"], ["ls"], ["runs"], ["doctor"]):
        result = aihw(*words)
        assert result.code == 2 and result.err.startswith(
            "error: the current folder was deleted"
        )
    assert aihw("--help").code == aihw("train", "--help").code == 0


LONG, DEEP = "a" * 300, "/".join("a" * 200 for _ in range(30))
NAMES = {
    "name": ["train", f"name={LONG}"],
    "name of several parts": ["train", f"name={'a' * 150}/{'b' * 150}"],
    "recipe": ["train", f"conf={LONG}.yaml"],
    "recipe of a user": ["train", "conf=~nosuchuser/x.yaml"],
    "results": ["train", f"run.dir={LONG}"],
    "results deep": ["train", f"run.dir={DEEP}"],
    "results of a user": ["train", 'run.dir="~nosuchuser/x"'],
    "data": ["train", "dataset=mnist", f"dataset.root={LONG}"],
    "data of a user": ["train", "dataset=mnist", 'dataset.root="~nosuchuser/x"'],
    "text": ["train", "dataset=text", "model=char_lstm", f"dataset.path={LONG}"],
    "photographs": ["train", "dataset=cifar10", 'dataset.root="~nosuchuser"'],
    "start": ["train", f"run.start={LONG}"],
    "start of a user": ["train", 'run.start="~nosuchuser/x"'],
    "device": ["train", f"device={LONG}.py", "--allow-code"],
    "device of a user": ["train", 'device="~nosuchuser/x.py"', "--allow-code"],
    "table": ["train", f"device={LONG}.csv"],
    "table of a user": ["train", 'device="~nosuchuser/x.csv"'],
    "run": ["resume", LONG],
    "run of a user": ["resume", "~nosuchuser/x"],
    "evaluation": ["eval", LONG],
    "weights": ["eval", f"{LONG}.safetensors", "model=mlp"],
    "runs": ["runs", "ls", LONG],
    "runs of a user": ["runs", "ls", "~nosuchuser"],
    "copy": ["cp", "digits", LONG],
    "copy for a user": ["cp", "digits", "~nosuchuser/x"],
    "file": ["validate", f"{LONG}.yaml"],
    "reproduced": ["reproduce", "--list", "--runs", "~nosuchuser"],
    "report": ["reproduce", "gokmen2016", "--report", f"{LONG}"],
    "figure": ["device", "plot", "ecram", "--out", f"{LONG}.png"],
}


@pytest.mark.parametrize("words", NAMES.values(), ids=NAMES)
def test_names_that_cannot_be(aihw: Call, folder: Path, words: list[str]) -> None:
    result = aihw(*words)
    assert result.code == 2 and "Traceback" not in result.err, result.err
    assert 1 <= len(result.err.splitlines()) <= 2 and len(result.err) < 700, result.err
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "name", ["a${b}", "a b", "a#b", "a%20b", "a'b", "a=b,c", "ä", "a\\b"]
)
def test_folders_with_odd_names(
    aihw: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(
        folder / name / "presets/device/mine.yaml",
        "model: constant_step\ndw_min: 0.25\n",
    )
    write(folder / name / "mine.yaml", "defaults: [{device: mine}]\n")
    monkeypatch.chdir(folder / name)
    done = aihw("validate", "mine.yaml", "--as", "recipe", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["device"]["dw_min"] == 0.25


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud800", "~nosuchuser", "x" * 256, "/".join("x" * 5000)]
)
def test_paths_that_cannot_be(text: str) -> None:
    with pytest.raises(UserError) as caught:
        user_path(text)
    assert len(str(caught.value)) < 300


def test_json_is_what_every_reader_takes(aihw: Call) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    words = (
        "algorithm=digital",
        "optimizer.lr=1e38",
        *SMALL[1:],
        "dataset.test_samples=40",
    )
    aihw("train", *words, "--json")
    for command in (
        ["train", *words, "--json"],
        ["train", "-m", *words, "run.seed=1,2", "--json"],
        ["runs", "ls", "--json"],
        ["runs", "show", "runs", "--json"],
        ["runs", "best", "--json"],
        ["runs", "plot", "--json"],
        ["doctor", "--json"],
        ["device", "plot", "ecram", "--json"],
        [
            "validate",
            write(Path("m.yaml"), "run: {epochs: 1}\n").name,
            "--as",
            "recipe",
            "--json",
        ],
        ["reproduce", "gokmen2016/fig3a", "--read", "--json"],
    ):
        json.loads(aihw(*command).out, parse_constant=refuse)
    for path in Path("runs").rglob("*.json"):
        if "checkpoint" not in path.parts:
            json.loads(path.read_text(), parse_constant=refuse)


def test_what_does_not_fit_is_refused_with_what_it_needs(
    aihw: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hidden in (10**9, 10**18):
        for algorithm in ("sgd", "digital"):
            result = aihw("train", f"model.hidden=[{hidden}]", f"algorithm={algorithm}")
            assert result.code == 2 and "of memory at least" in result.err, result.err
            assert (
                "layer fc1: a matrix of" in result.err
                and len(result.err.splitlines()) == 1
            )
    monkeypatch.setattr(memory, "free_memory", lambda: 100 << 20)
    result = aihw("train", "model.hidden=[3000,3000]")
    assert (
        result.code == 2
        and "layer fc2" in result.err
        and "100 MB are free" in result.err
    )
    assert not (folder / "runs").exists()


def test_limits_of_container_and_shell_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "max", "1000000\n")
    write(tmp_path / "used", "400000\n")
    whole = memory.free_memory()
    assert whole is not None and whole > 1 << 20
    monkeypatch.setattr(memory, "CONTAINERS", ((tmp_path / "max", tmp_path / "used"),))
    assert memory.free_memory() == 600000
    write(tmp_path / "max", "max\n")
    assert memory.free_memory() != 600000
    limits = (300_000_000_000, 300_000_000_000)
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: limits)
    assert memory._shell() is not None and 0 < memory._shell() < limits[0]


def test_what_the_machine_lacks_is_a_line() -> None:
    refused = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1600000000 bytes."
    assert reason(RuntimeError(refused)).endswith("1.49 GB more were asked for")
    assert reason(MemoryError()) == "there is not enough memory"
    assert "x: No such" in reason(FileNotFoundError(2, "No such file", "x"))
    assert "cannot be loaded" in reason(ImportError("libx.so: failed to map segment"))
    assert reason(ValueError("ours")) == ""


def test_most_threads(aihw: Call) -> None:
    result = aihw("train", "run.threads=1000")
    assert result.code == 2 and "run.threads must be <= 512" in result.err
