"""The idx format of the MNIST family: four files, gzipped or not, read without torchvision."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import numpy as np
    import torch

    from engine.experiment.data import Data

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CLASSES = 10


def idx_files(settings: Mapping[str, Any], maker: str) -> list[Path]:
    """The four files below `root`: there, in root/`maker`/raw or in root/raw; downloaded first if
    that is asked for.

    `maker` is torchvision's name of the data set and of its folder.
    """
    root = user_path(str(settings.get("root") or "data"))
    folders = [root, root / maker / "raw", root / "raw"]
    found = [_present(folder) for folder in folders]
    best = max(found, key=len)
    if len(best) < len(NAMES) and settings.get("download"):
        _download(root, maker)
        best = _present(folders[1])
    if len(best) < len(NAMES):
        missing = [n for n in NAMES if n not in best]
        raise UserError(
            f"dataset.root: no {', '.join(f'{n}[.gz]' for n in missing)} in {', '.join(map(str, folders))}\n"
            f"give the folder that holds them (dataset.root=FOLDER), or dataset.download=true to fetch {maker}"
        )
    return [best[n] for n in NAMES]


def _present(folder: Path) -> dict[str, Path]:
    pairs = [(n, folder / (n + end)) for n in NAMES for end in (".gz", "")]
    return {n: p for n, p in pairs if p.is_file()}


def _download(root: Path, maker: str) -> None:
    from torchvision import datasets

    try:
        getattr(datasets, maker)(str(root), download=True)
    except (OSError, RuntimeError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(
            f"dataset.download: fetching {maker} into {root} failed: {first}"
        ) from problem


def read_idx(path: Path, dims: int) -> np.ndarray[Any, Any]:
    """The unsigned bytes of an idx file with `dims` dimensions. Raises UserError for a file that is
    not whole."""
    import numpy as np

    raw = _bytes(path)
    head = 4 + 4 * dims
    if len(raw) < 4 or raw[:4] != bytes((0, 0, 8, dims)):
        raise UserError(
            f"{path}: no idx file of {dims}-dimensional bytes (it starts with {raw[:4].hex() or 'nothing'})"
        )
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, head, 4)]
    promised = head + math.prod(shape)
    if len(raw) != promised:
        what = "truncated" if len(raw) < promised else "too long"
        raise UserError(
            f"{path}: {what}: its header promises {promised} bytes, it has {len(raw)}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except EOFError as problem:
        raise UserError(
            f"{path}: truncated: the gzip stream ends too early; fetch it again"
        ) from problem
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise UserError(f"{path}: damaged gzip file ({problem}); fetch it again") from problem
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def load_idx(paths: list[Path]) -> Data:
    """Images as [N, 1, height, width] in 0 to 1, and labels, of the four files."""
    from engine.experiment.data import Data

    return Data(*_pair(*paths[:2]), *_pair(*paths[2:]), CLASSES)


def _pair(images_path: Path, labels_path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels) or not len(labels):
        raise UserError(
            f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}"
        )
    if labels.max() >= CLASSES:
        raise UserError(f"{labels_path}: label {labels.max()} is not one of 0 to {CLASSES - 1}")
    return torch.tensor(images).unsqueeze(1).float().div_(255), torch.tensor(labels).long()
