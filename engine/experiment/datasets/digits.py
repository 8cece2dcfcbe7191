"""The digits that ship with scikit-learn: 1797 images of 8 x 8 grey values; nothing to download.

The split is fixed: of each class, in the order of the file, every fifth image is for testing (355
images), the others are for training (1442). Writers follow each other in the file, so both parts
hold every writer."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError

if TYPE_CHECKING:
    from engine.experiment.data import Data

ABOUT = "Handwritten digits, 8 x 8 grey values scaled to 0 to 1; 1442 for training, 355 for testing."
SOURCE = "Alpaydin & Kaynak, Cascading classifiers, Kybernetika 34:369 (1998), doi:10.24432/C50P49"
SHAPE, CLASSES = (1, 8, 8), 10
TEST_EVERY = 5


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The table inside the installed scikit-learn, found without importing it (that would take a
    second)."""
    spec = importlib.util.find_spec("sklearn")
    places = list(spec.submodule_search_locations or ()) if spec else []
    tables = [
        path
        for place in places
        if (path := Path(place, "datasets", "data", "digits.csv.gz")).is_file()
    ]
    if not tables:
        raise UserError(
            "dataset digits: the table digits.csv.gz of scikit-learn was not found; pip install scikit-learn"
        )
    return tables[:1]


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 1, 8, 8] and labels."""
    import numpy as np
    import torch

    from engine.experiment.data import Data

    with gzip.open(files(settings)[0], "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    labels = table[:, -1]
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in range(CLASSES):
        own = labels == label
        rank[own] = np.arange(own.sum())
    test = rank % TEST_EVERY == TEST_EVERY - 1
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8)).float().div_(16)
    truth = torch.from_numpy(labels.astype(np.int64))
    train_at, test_at = (
        torch.from_numpy(np.flatnonzero(~test)),
        torch.from_numpy(np.flatnonzero(test)),
    )
    return Data(
        images[train_at],
        truth[train_at],
        images[test_at],
        truth[test_at],
        classes=CLASSES,
    )
