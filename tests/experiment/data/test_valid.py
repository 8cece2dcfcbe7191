"""Training samples that are set aside to choose by: which ones, what they are used for, and that
nothing changes without them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aihw_cli.main import main
from engine.experiment.data import load_data
from engine.experiment.runs import read_record, read_summary
from engine.settings import UserError
from tests.experiment.helpers import run, small_config, write_idx


def digits(part: float, seed: int = 0, **changes: Any) -> Any:
    return load_data({"name": "digits", "valid_part": part, **changes}, seed=seed)


def rows(x: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in x}


def test_a_share_of_the_training_samples_is_set_aside() -> None:
    whole, parted = digits(0), digits(0.2)
    assert (
        whole.valid_x is None
        and parted.valid_x is not None
        and parted.valid_y is not None
    )
    assert len(parted.valid_y) == 288 and len(parted.train_y) == 1442 - 288
    assert rows(parted.train_x) | rows(parted.valid_x) == rows(whole.train_x)
    assert torch.equal(parted.test_x, whole.test_x)
    # Digits are unique images up to few repetitions, so that no sample is on both sides.
    assert len(rows(parted.train_x) & rows(parted.valid_x)) <= len(whole.train_x) - len(
        rows(whole.train_x)
    )


def test_the_split_is_a_function_of_the_seed() -> None:
    torch.manual_seed(0)
    first = digits(0.2, seed=3)
    torch.manual_seed(1)
    assert torch.equal(first.valid_x, digits(0.2, seed=3).valid_x)
    assert not torch.equal(first.valid_x, digits(0.2, seed=4).valid_x)
    before = torch.get_rng_state()
    digits(0.2)
    assert torch.equal(before, torch.get_rng_state())


def test_the_rest_keeps_its_order_and_train_samples_is_cut_first() -> None:
    whole, parted = digits(0, train_samples=50), digits(0.2, train_samples=50)
    assert len(parted.train_y) == 40 and len(parted.valid_y) == 10
    kept = iter(whole.train_x)
    assert all(
        any(torch.equal(image, other) for other in kept) for image in parted.train_x
    )


@pytest.mark.parametrize("part", [1, 1.5, -0.1])
def test_a_share_that_leaves_nothing_is_refused(part: float) -> None:
    with pytest.raises(
        UserError, match=r"dataset.valid_part must be >= 0 and < 1, not"
    ):
        digits(part)


def test_a_share_of_no_sample_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"valid_part=0.01 of 20 training samples sets 0 aside"
    ):
        digits(0.01, train_samples=20)


def test_the_command_line_names_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dataset.valid_part=1"]) == 2
    assert "dataset.valid_part must be >= 0 and < 1" in capsys.readouterr().err


def test_the_best_epoch_is_chosen_by_validation_data(tmp_path: Path) -> None:
    config = small_config(tmp_path, dataset={"valid_part": 0.3}, run={"epochs": 6})
    folder = run(config)
    with (folder / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    best = max(found, key=lambda row: float(row["valid_accuracy"]))
    summary = read_summary(folder)
    assert summary["selected_on"] == "validation"
    assert summary["best_epoch"] == int(best["epoch"])
    assert summary["best_valid_accuracy"] == float(best["valid_accuracy"])
    assert summary["best_test_accuracy"] == float(best["test_accuracy"])
    assert summary["valid_accuracy"] == float(found[-1]["valid_accuracy"])
    assert read_record(folder)["samples"] == {"train": 67, "valid": 28, "test": 50}


def test_without_a_split_the_test_data_choose_and_it_is_said(tmp_path: Path) -> None:
    folder = run(small_config(tmp_path))
    summary = read_summary(folder)
    assert summary["selected_on"] == "test" and "valid_accuracy" not in summary
    assert read_record(folder)["samples"] == {"train": 95, "valid": 0, "test": 50}


def test_ranking_goes_by_validation_data_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(small_config(Path("runs"), dataset={"valid_part": 0.3}))
    assert main(["runs", "best", "--json"]) == 0
    found = capsys.readouterr()
    assert "valid_accuracy" in json.loads(found.out)[0]
    assert "best first by valid_accuracy, on validation data" in found.err
    run(small_config(Path("runs")))
    assert main(["runs", "best", "--json"]) == 0
    found = capsys.readouterr()
    assert "test_accuracy" in json.loads(found.out)[0]
    assert "best first by test_accuracy, on test data" in found.err


def test_test_images_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    train, test = write_idx(tmp_path / "a"), write_idx(tmp_path / "b", side=14)
    for name, path in test.items():
        if name.startswith("t10k"):
            train[name].write_bytes(path.read_bytes())
    with pytest.raises(
        UserError,
        match=r"t10k-images\S+: images of 14 x 14, but those for training in \S+train-images\S+ are 28 x 28",
    ):
        load_data({"name": "mnist", "root": str(tmp_path / "a")})
