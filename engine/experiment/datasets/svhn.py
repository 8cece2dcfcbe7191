"""Street View House Numbers: 32 x 32 photographs of digits in colour, 73257 for training and 26032
for testing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.readers.wording import first_line
from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import torch

    from engine.experiment.data import Data

ABOUT = "Digits of house numbers, 32 x 32 in colour, scaled to 0 to 1; 73257 for training, 26032 for testing."
SOURCE = "Netzer et al., NIPS Workshop on Deep Learning and Unsupervised Feature Learning (2011)"
SHAPE, CLASSES = (3, 32, 32), 10
PARTS = ("train", "test")
# The files call the digit 0 a ten.
TEN = 10


def files(settings: Mapping[str, Any]) -> list[Path]:
    """train_32x32.mat and test_32x32.mat in `root` or `root`/SVHN."""
    root = user_path(str(settings.get("root") or "data"))
    for folder in (root, root / "SVHN", root / "svhn"):
        found = [folder / f"{part}_32x32.mat" for part in PARTS]
        if all(path.is_file() for path in found):
            return found
    if settings.get("download"):
        _download(root)
        return [root / f"{part}_32x32.mat" for part in PARTS]
    raise UserError(
        f"dataset.root: no train_32x32.mat, test_32x32.mat in {root}\n"
        "give the folder that holds them (dataset.root=FOLDER), or dataset.download=true to fetch SVHN"
    )


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 3, 32, 32] and labels."""
    from engine.experiment.data import Data

    train, test = map(_read, files(settings))
    return Data(*train, *test, CLASSES)


def _read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    import numpy as np
    import torch
    from scipy.io import loadmat

    try:
        found = loadmat(str(path), variable_names=("X", "y"))
        images, labels = found["X"], found["y"].astype(np.int64).flatten()
    except (
        Exception
    ) as problem:  # of many kinds: the reader computes with what stands there
        raise UserError(f"{path}: no file of SVHN: {first_line(problem)}") from problem
    if (
        images.shape != (32, 32, 3, len(labels))
        or images.dtype != np.uint8
        or not len(labels)
    ):
        shape = " x ".join(map(str, images.shape))
        raise UserError(
            f"{path}: images of {shape} {images.dtype} for {len(labels)} labels"
        )
    if labels.min() < 0 or labels.max() > TEN:
        raise UserError(
            f"{path}: labels {labels.min()} to {labels.max()}, they must be digits"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    return pixels.float().div_(255), torch.from_numpy(labels % TEN)


def _download(root: Path) -> None:
    from torchvision.datasets import SVHN

    try:
        for part in PARTS:
            SVHN(str(root), split=part, download=True)
    except (OSError, RuntimeError) as problem:
        raise UserError(
            f"dataset.download: fetching SVHN into {root} failed: {first_line(problem)}"
        ) from problem
