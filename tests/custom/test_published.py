"""Published datasets in the form of their files: SVHN, CIFAR-100, EMNIST, KMNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.experiment.data import dataset_info, load_data
from engine.settings import UserError


def idx(values: np.ndarray[Any, Any]) -> bytes:
    """Bytes in the idx format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + sizes + values.astype(np.uint8).tobytes()


def test_kmnist_lies_as_mnist_does(tmp_path: Path) -> None:
    home = tmp_path / "KMNIST" / "raw"
    home.mkdir(parents=True)
    for part in ("train", "t10k"):
        (home / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((4, 28, 28))))
        (home / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(4)))
    data = load_data({"name": "kmnist", "root": str(tmp_path)})
    assert data.train_x.shape == (4, 1, 28, 28) and data.classes == 10


def test_emnist_is_upright_and_counts_from_zero(tmp_path: Path) -> None:
    image = np.arange(784).reshape(1, 28, 28) % 251
    for part in ("train", "test"):
        (tmp_path / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx(image))
        (tmp_path / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(
            idx(np.array([26]))
        )
    given = {"name": "emnist", "root": str(tmp_path), "split": "letters"}
    data = load_data(given)
    assert torch.equal(data.train_x[0, 0], torch.from_numpy(image[0].T).float() / 255)
    assert (
        data.train_y.tolist() == [25]
        and dataset_info(given).classes == data.classes == 26
    )
    with pytest.raises(UserError, match="EMNIST has no 'leters'; nearest: letters"):
        load_data({**given, "split": "leters"})
    with pytest.raises(UserError, match="no emnist-balanced-train-images"):
        load_data({**given, "split": ""})


def test_svhn_calls_a_zero_ten(tmp_path: Path) -> None:
    from scipy.io import savemat

    images = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 3)).astype(np.uint8)
    for part in ("train", "test"):
        savemat(
            tmp_path / f"{part}_32x32.mat",
            {"X": images, "y": np.array([[10], [1], [9]])},
        )
    data = load_data({"name": "svhn", "root": str(tmp_path)})
    assert data.train_y.tolist() == [0, 1, 9]
    assert torch.equal(
        data.train_x[2], torch.from_numpy(images[..., 2].transpose(2, 0, 1)) / 255
    )
    (tmp_path / "test_32x32.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="no file of SVHN"):
        load_data({"name": "svhn", "root": str(tmp_path)})


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    records = np.zeros((2, 3074), np.uint8)
    records[:, 0], records[:, 1], records[:, 2] = 19, (99, 3), 255
    for part in ("train", "test"):
        (tmp_path / f"{part}.bin").write_bytes(records.tobytes())
    data = load_data({"name": "cifar100", "root": str(tmp_path)})
    assert data.train_y.tolist() == [99, 3] and data.classes == 100
    assert data.train_x[0, 0, 0, 0] == 1 and data.train_x[0].sum() == 1
    (tmp_path / "test.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(UserError, match=r"test\.bin: not whole"):
        load_data({"name": "cifar100", "root": str(tmp_path)})
