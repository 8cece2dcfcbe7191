"""EMNIST: handwritten letters and digits, 28 x 28 grey values; `dataset.split` says which of its
collections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.datasets._idx import read_idx
from engine.readers.wording import first_line, unknown
from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import torch

    from engine.experiment.data import Data, Info

ABOUT = "Handwritten letters and digits, 28 x 28 grey values in 0 to 1; dataset.split=balanced, letters, digits, ..."
SOURCE = (
    "Cohen, Afshar, Tapson & van Schaik, IJCNN 2017, doi:10.1109/IJCNN.2017.7966217"
)
SPLITS = {
    "balanced": 47,
    "byclass": 62,
    "bymerge": 47,
    "digits": 10,
    "letters": 26,
    "mnist": 10,
}


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The four idx files of a split, gzipped or not, in `root`, `root`/EMNIST/raw or `root`/raw."""
    split = _split(settings)
    root = user_path(str(settings.get("root") or "data"))
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    found = _present(root, names)
    if len(found) < len(names) and settings.get("download"):
        _download(root, split)
        found = _present(root, names)
    if len(found) < len(names):
        missing = [name for name in names if name not in found]
        raise UserError(
            f"dataset.root: no {', '.join(f'{name}[.gz]' for name in missing)} in {root} or its EMNIST/raw\n"
            "give the folder that holds them (dataset.root=FOLDER), or dataset.download=true to fetch EMNIST"
        )
    return [found[name] for name in names]


def info(settings: Mapping[str, Any]) -> Info:
    """Shape and classes of the split."""
    from engine.experiment.data import Info

    return Info((1, 28, 28), SPLITS[_split(settings)])


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 1, 28, 28], upright, and labels from 0 on."""
    from engine.experiment.data import Data

    paths, split = files(settings), _split(settings)
    train, test = _pair(*paths[:2], split=split), _pair(*paths[2:], split=split)
    return Data(*train, *test, SPLITS[split])


def _split(settings: Mapping[str, Any]) -> str:
    split = str(settings.get("split") or "balanced")
    if split not in SPLITS:
        raise UserError(
            f"dataset.split: EMNIST has no {split!r}; {unknown(split, SPLITS)}"
        )
    return split


def _present(root: Path, names: list[str]) -> dict[str, Path]:
    folders = (root / "EMNIST" / "raw", root / "raw", root)
    pairs = [
        (n, folder / f"{n}{end}")
        for n in names
        for folder in folders
        for end in (".gz", "")
    ]
    return {name: path for name, path in pairs if path.is_file()}


def _pair(
    images: Path, labels: Path, *, split: str
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y) or x.shape[1:] != (28, 28):
        shape = " x ".join(map(str, x.shape))
        raise UserError(
            f"{images}: images of {shape} for the {len(y)} labels of {labels}"
        )
    numbers = torch.tensor(y, dtype=torch.int64)
    if split == "letters":  # its labels count from 1
        numbers -= 1
    if len(numbers) == 0 or numbers.min() < 0 or numbers.max() >= SPLITS[split]:
        raise UserError(f"{labels}: labels that the split {split} does not have")
    # The files hold every image with rows and columns exchanged.
    return torch.tensor(x, dtype=torch.float32).transpose(1, 2).unsqueeze(1).div_(
        255
    ), numbers


def _download(root: Path, split: str) -> None:
    from torchvision.datasets import EMNIST

    try:
        EMNIST(str(root), split=split, download=True)
    except (OSError, RuntimeError) as problem:
        raise UserError(
            f"dataset.download: fetching EMNIST into {root} failed: {first_line(problem)}"
        ) from problem
