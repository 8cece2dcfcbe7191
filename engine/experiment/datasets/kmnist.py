"""Kuzushiji-MNIST: handwritten characters of ten kinds, 28 x 28 grey values, in the files of
MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.datasets._idx import idx_files, load_idx

if TYPE_CHECKING:
    from engine.experiment.data import Data

ABOUT = "Ten kinds of old Japanese characters, 28 x 28 grey values in 0 to 1; 60000 for training, 10000 for testing."
SOURCE = "Clanuwat et al. (2018), arXiv:1812.01718"
SHAPE, CLASSES = (1, 28, 28), 10


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The four idx files, gzipped or not, in `root`, `root`/KMNIST/raw or `root`/raw."""
    return idx_files(settings, "KMNIST")


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 1, 28, 28] and labels."""
    return load_idx(files(settings))
