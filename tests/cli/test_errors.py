"""Wrong input: one or two lines with key, value, what is allowed and its origin; exit code 2;
nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import write

ON_THE_COMMAND_LINE = {
    "unknown command": (["trian"], ["trian", "aihw train"]),
    "unknown option": (["train", "--agian"], ["--agian", "--again"]),
    "option without its value": (["validate", "x.yaml", "--as"], ["--as", "KIND"]),
    "value for a flag": (["train", "--json=yes"], ["--json"]),
    "words missing": (["resume"], ["aihw resume FOLDER"]),
    "words too many": (["show", "a", "b"], ["aihw show takes one name", "'b'"]),
    "no override": (["train", "ecram"], ["ecram", "key=value"]),
    "unreadable override": (["train", "model.hidden=[1"], ["model.hidden=[1"]),
    "deleted key": (["train", "~optimizer.lr=1"], ["deleted"]),
    "comma without -m": (["train", "optimizer.lr=1,2"], ["-m", "[a,b]"]),
    "unknown key": (
        ["train", "optimizer.lrr=3"],
        ["optimizer.lrr", "nearest: optimizer.lr", "command line"],
    ),
    "unknown key with Hydra's plus": (
        ["train", "+lrr=3"],
        ["lrr", "nearest: optimizer.lr"],
    ),
    "unknown section": (
        ["train", "optimiser.lr=3"],
        ["optimiser", "nearest: optimizer", "command line"],
    ),
    "unknown device parameter": (
        ["train", "device.dw_mim=1"],
        ["device.dw_mim", "nearest: device.dw_min"],
    ),
    "parameter of another device": (
        ["train", "device.gamma_up=1"],
        ["device.gamma_up", "aihw show gamma_up", "(command line)"],
    ),
    "unknown tile key": (
        ["train", "tile.forward.outnoise=1"],
        ["nearest: tile.forward.out_noise"],
    ),
    "unknown model setting": (
        ["train", "model=fcn", "model.hiden=[3]"],
        ["model.hiden"],
    ),
    "text for a number": (
        ["train", "optimizer.lr=fast"],
        ["optimizer.lr", "number", "'fast'", "command line"],
    ),
    "no end of a count": (["train", "run.epochs=inf"], ["run.epochs", "finite", "inf"]),
    "fraction for a count": (
        ["train", "run.epochs=2.5"],
        ["run.epochs", "whole number", "2.5"],
    ),
    "number for a flag": (["train", "run.exact=2"], ["run.exact", "true or false"]),
    "flag for a number": (["train", "run.seed=true"], ["run.seed", "number"]),
    "number for a list": (
        ["train", "model.hidden=3"],
        ["model.hidden", "list of whole numbers"],
    ),
    "text in a list": (["train", "model.hidden=[3,x]"], ["model.hidden[1]", "'x'"]),
    "number for a section": (
        ["train", "optimizer.schedule=3"],
        ["optimizer.schedule", "section", "milestones"],
    ),
    "name for a section": (["train", "loss=mse"], ["loss.name=mse"]),
    "not a number": (["train", "optimizer.lr=nan"], ["optimizer.lr", "finite"]),
    "below the range": (
        ["train", "device.dw_min=-1"],
        ["device.dw_min", "> 0", "-1", "command line"],
    ),
    "above the range": (
        ["train", "device.corrupt_devices_prob=2"],
        ["corrupt_devices_prob", "<= 1"],
    ),
    "no seed": (["train", "seeds=0"], ["seeds", ">= 1"]),
    "no epoch": (["train", "run.epochs=0"], ["run.epochs", ">= 1"]),
    "not among the choices": (
        ["train", "run.device=tpu"],
        ["auto, cpu, cuda", "'tpu'"],
    ),
    "unknown management": (["train", "tile.forward.noise_management=Abs"], ["AbsMax"]),
    "bounds that cross": (
        ["train", "device.w_min=1", "device.w_max=-1"],
        ["w_m", "command line"],
    ),
    "bounds without a range": (
        ["train", "device.w_min=0", "device.w_max=0"],
        ["w_min", "w_max", "below"],
    ),
    "settings that contradict": (
        ["train", "device=ecram", "device.mult_noise=false", "device.reverse_up=true"],
        ["reverse_up", "mult_noise=true", "command line"],
    ),
    "unknown recipe": (
        ["train", "conf=mnist_fnc"],
        ["mnist_fnc", "nearest: mnist_fcn"],
    ),
    "missing recipe file": (["train", "conf=mine.yaml"], ["mine.yaml"]),
    "two recipes": (["train", "conf=digits", "conf=mnist_fcn"], ["2 times"]),
    "unknown device": (["train", "device=ecrm"], ["ecrm", "nearest: ecram"]),
    "unknown preset": (
        ["train", "preset=gokmen"],
        ["gokmen", "nearest: gokmen_vlasov"],
    ),
    "unknown dataset": (["train", "dataset=minst"], ["minst", "nearest: mnist"]),
    "unknown step model": (["train", "device.model=linear"], ["linear", "linear_step"]),
    "unknown dataset name": (
        ["train", "dataset.name=imagenet"],
        ["dataset.name", "mnist"],
    ),
    "unknown algorithm name": (["train", "algorithm.name=sgdd"], ["sgdd", "sgd"]),
    "group without a name": (["train", "device=null"], ["device needs a name"]),
    "group with a mapping": (
        ["train", "device={dw_min: 1}"],
        ["device takes the name"],
    ),
    "array that the algorithm has not": (
        ["train", "device@algorithm.fast=ecram"],
        ["no array algorithm.fast"],
    ),
    "package into hydra": (["train", "device@hydra.x=ecram"], ["hydra"]),
    "hydra itself": (["train", "hydra.verbose=true"], ["of Hydra itself"]),
    "device file without permission": (
        ["train", "device=mine.py:Mine"],
        ["mine.py:Mine", "--allow-code"],
    ),
    "device file that is not there": (
        ["train", "device=mine.py:Mine", "--allow-code"],
        ["no device file"],
    ),
    "layer part unknown": (
        ["train", "layers.fc1.devise=ecram"],
        ["layers.fc1.devise", "nearest: device"],
    ),
    "layer value wrong": (
        ["train", "layers.fc1.device.dw_min=-1"],
        ["layers.fc1.device.dw_min", "> 0"],
    ),
    "layer device unknown": (["train", "layers.fc1.device=ecrm"], ["nearest: ecram"]),
    "layer no mapping": (
        ["train", "layers.fc1=3"],
        ["layers.fc1", "device, tile, algorithm"],
    ),
    "sweep over nothing": (["train", "-m", "device=glob(z*)"], ["matches nothing"]),
    "sweep over an interval": (
        ["train", "-m", "optimizer.lr=interval(0,1)"],
        ["choice"],
    ),
    "sweep with a wrong point": (
        ["train", "-m", "optimizer.lr=0.1,-1"],
        ["optimizer.lr", ">= 0", "point optimizer.lr=-1"],
    ),
    "kind unknown": (["ls", "devcie"], ["nearest: device"]),
    "nothing of that name": (["show", "ecrm"], ["nearest: ecram"]),
    "nothing to copy": (["cp", "ecrm", "x.yaml"], ["nearest: ecram"]),
    "no run folder": (["resume", "nowhere"], ["nowhere"]),
}
IN_A_FILE = {
    "broken yaml": ("run:\n  epochs: [1\nx: 2\n", ["mine.yaml:3", "not valid YAML"]),
    "tab": ("run:\n\tepochs: 1\n", ["mine.yaml:2", "not valid YAML"]),
    "key twice": ("run:\n  epochs: 1\n  epochs: 2\n", ["mine.yaml:3", "twice"]),
    "no mapping": ("- 1\n- 2\n", ["mine.yaml", "key: value"]),
    "not text": ("\x00\x01", ["mine.yaml"]),
    "unknown key": (
        "run: {epoch: 1}\n",
        ["run.epoch", "nearest: run.epochs", "mine.yaml"],
    ),
    "wrong type": ("optimizer: {lr: fast}\n", ["optimizer.lr", "'fast'", "mine.yaml"]),
    "out of range": ("device: {dw_min: -1}\n", ["device.dw_min", "> 0", "mine.yaml"]),
    "unknown member": (
        "defaults:\n  - device: ecrm\n",
        ["ecrm", "nearest: ecram", "mine.yaml"],
    ),
    "unknown group": (
        "defaults:\n  - devise: ecram\n",
        ["devise", "nearest: device", "mine.yaml"],
    ),
    "key that is not there": (
        "optimizer: {lr: '${nothing.here}'}\n",
        ["mine.yaml", "nothing"],
    ),
}


def check(code: int, err: str, expected: list[str]) -> None:
    """Exit code 2, one or two lines, no traceback, all the words."""
    assert code == 2, err
    assert len(err.strip().splitlines()) <= 2, err
    assert "Traceback" not in err
    for words in expected:
        assert words in err, err


@pytest.mark.parametrize(
    "words, expected", ON_THE_COMMAND_LINE.values(), ids=ON_THE_COMMAND_LINE
)
def test_command_line(
    aihw, folder: Path, words: list[str], expected: list[str]
) -> None:
    result = aihw(*words)
    check(result.code, result.err, expected)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("text, expected", IN_A_FILE.values(), ids=IN_A_FILE)
@pytest.mark.parametrize("command", ["train", "validate"])
def test_file(aihw, folder: Path, command: str, text: str, expected: list[str]) -> None:
    path = write(folder / "mine.yaml", text)
    words = [f"conf={path}"] if command == "train" else [str(path), "--as", "recipe"]
    result = aihw(command, *words)
    check(result.code, result.err, expected)
    assert [p.name for p in folder.iterdir()] == ["mine.yaml"]


def test_a_broken_member_is_named_with_its_line(aihw, folder: Path) -> None:
    path = write(
        folder / "presets/device/mine.yaml", "model: constant_step\ndw_min: [1\n"
    )
    result = aihw("train", "device=mine")
    check(result.code, result.err, [f"{path}:3"])


def test_a_wrong_value_in_a_member_is_named_with_its_file(aihw, folder: Path) -> None:
    path = write(
        folder / "presets/device/mine.yaml", "model: constant_step\ndw_mim: 1\n"
    )
    result = aihw("train", "device=mine")
    check(
        result.code, result.err, ["device.dw_mim", "nearest: device.dw_min", str(path)]
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x = (\n", "SyntaxError"),
        ("import nothing_like_this\n", "nothing_like_this"),
        ("Other = 1\n", "has no device"),
    ],
)
def test_a_device_file_that_cannot_be_used(
    aihw, folder: Path, text: str, expected: str
) -> None:
    write(folder / "mine.py", text)
    result = aihw("train", "device=mine.py:Mine", "--allow-code")
    check(result.code, result.err, ["mine.py", expected])


def test_a_run_folder_that_cannot_be_made(aihw, folder: Path) -> None:
    write(folder / "taken", "a file, no folder")
    result = aihw(
        "train",
        "algorithm=digital",
        "run.epochs=1",
        "dataset.train_samples=20",
        "run.dir=taken",
    )
    check(result.code, result.err, ["run folder", "taken"])
    assert [p.name for p in folder.iterdir()] == ["taken"]


def test_no_compiler(folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AIHW_CXX": "no-such-compiler",
    }
    command = [sys.executable, "-m", "aihw_cli", "train", f"run.dir={folder / 'runs'}"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    check(done.returncode, done.stderr, ["no-such-compiler"])
    assert done.stdout == "" and not list(folder.iterdir())


def test_an_error_of_the_engine_for_the_user_is_told_the_same_way(
    aihw, folder: Path
) -> None:
    result = aihw("train", "dataset=mnist", "dataset.root=nowhere")
    check(result.code, result.err, ["nowhere"])
    assert not list(folder.iterdir())
