"""MNIST: handwritten digits, 28 x 28 grey values, 60000 for training and 10000 for testing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.datasets._idx import idx_files, load_idx

if TYPE_CHECKING:
    from engine.experiment.data import Data

ABOUT = "Handwritten digits, 28 x 28 grey values scaled to 0 to 1; 60000 for training, 10000 for testing."
SOURCE = (
    "LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86:2278 (1998), doi:10.1109/5.726791"
)
SHAPE, CLASSES = (1, 28, 28), 10


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The four idx files, gzipped or not, in `root`, `root`/MNIST/raw or `root`/raw."""
    return idx_files(settings, "MNIST")


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 1, 28, 28] and labels."""
    return load_idx(files(settings))
