"""`aihw show --model`: a table of layers and tiles, for a script as well, and what it says of wrong
names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aihw_cli.network import overrides
from tests.cli.conftest import Result, write
from tests.cli.test_train import ENVIRONMENT, on_a_terminal

Aihw = Callable[..., Result]


def test_a_recipe_without_its_data(aihw: Aihw) -> None:
    done = aihw("show", "--model", "mnist_lenet")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "mnist_lenet: lenet, 1 x 28 x 28 of mnist to 10 classes"
    assert [line.split()[0] for line in lines[3:7]] == ["conv1", "conv2", "fc1", "fc2"]
    assert (
        lines[-1]
        == "80,202 parameters: 80,016 in cells of 4 tiles, 100.0% used; 186 digital"
    )
    assert "\x1b" not in done.out


def test_changes_and_json(aihw: Aihw) -> None:
    rules = "layers={conv2:{algorithm:digital}}"
    done = aihw(
        "show", "--model", "lenet", rules, "tile.mapping.max_input_size=256", "--json"
    )
    found = json.loads(done.out)
    rows = {row["layer"]: row for row in found["layers"]}
    assert found["name"] == "mnist_lenet" and rows["conv2"]["kind"] == "Conv2d"
    assert (rows["fc1"]["tiles"], rows["fc1"]["tile_size"]) == (2, "2 of 128 x 256")
    assert found["totals"]["tiles"] == 4 and found["totals"]["parameters"] == 80_202


def test_a_model_that_no_recipe_has_is_shown_on_the_digits(aihw: Aihw) -> None:
    assert overrides("resnet20") == ["conf=digits", "model=resnet20"]
    assert overrides("lenet") == ["conf=basics/mnist_lenet"] and overrides(
        "char_lstm"
    ) == ["conf=char_lstm"]
    done = aihw("show", "--model", "resnet20", "dataset=cifar10")
    assert "3 x 32 x 32 of cifar10" in done.out and "block9_conv2" in done.out


def test_text_and_a_recipe_of_the_users_own(aihw: Aihw, folder: Path) -> None:
    write(folder / "story.txt", "once upon a time there was a cell.\n" * 40)
    write(
        folder / "mine.yaml",
        "defaults:\n  - model: char_lstm\n  - dataset: text\nmodel: {hidden: 8}\n",
    )
    done = aihw(
        "show",
        "--model",
        "mine.yaml",
        "dataset.path=story.txt",
        "loss.name=cross_entropy",
    )
    assert done.out.splitlines()[0] == "mine: char_lstm, 100 of text to 18 classes"
    assert "lstm2" in done.out and "32 x 18, 32 x 8" in done.out
    missing = aihw("show", "--model", "char_lstm")
    assert missing.code == 2 and "dataset.path=FILE.txt" in missing.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--model", "lenett"), "no model or recipe 'lenett'; nearest: lenet"),
        (
            ("--model", "lenet", "layers={conv3:{algorithm:digital}}"),
            "has no layer 'conv3'; nearest: conv",
        ),
        (("lenet", "run.epochs=3"), "takes one name, not 'run.epochs=3' as well"),
    ],
)
def test_wrong_words(aihw: Aihw, words: tuple[str, ...], line: str) -> None:
    done = aihw("show", *words)
    assert done.code == 2 and line in done.err and len(done.err.splitlines()) == 1


def test_a_table_on_a_terminal(folder: Path) -> None:
    seen = on_a_terminal(
        [sys.executable, "-m", "aihw_cli", "show", "--model", "digits"]
    )
    assert "fc1" in seen and "┃" in seen and "parameters" in seen


def test_layers_by_pattern_in_a_recipe(aihw: Aihw, folder: Path) -> None:
    write(
        folder / "mine.yaml",
        "defaults:\n  - model: resnet18\n  - dataset: cifar10\nlayers:\n  layer*: {algorithm: digital}\n"
        "  layer4.*:\n    algorithm: sgd\n  layer4.1.conv2: {algorithm: digital}\n",
    )
    found = json.loads(aihw("show", "--model", "mine.yaml", "--json").out)
    analog = [row["layer"] for row in found["layers"] if row["tiles"]]
    assert analog == [
        "conv1",
        "layer4.0.conv1",
        "layer4.0.conv2",
        "layer4.0.downsample.0",
        "layer4.1.conv1",
        "fc",
    ]


def test_resnet32_runs_if_the_data_is_there(folder: Path) -> None:
    from tests.experiment.test_cifar10 import write_cifar

    root = write_cifar(folder / "data")
    words = (
        "conf=cifar10_resnet32_hwa",
        f"dataset.root={root}",
        "dataset.batch_size=5",
        "run.epochs=1",
    )
    command = [
        sys.executable,
        "-m",
        "aihw_cli",
        "train",
        *words,
        "dataset.train_samples=5",
        "--json",
    ]
    environment = {
        **ENVIRONMENT,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished"
