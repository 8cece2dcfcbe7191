"""The idx format of the MNIST family: four files, gzipped or not, read without torchvision."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from engine.memory import require_memory
from engine.settings import UserError, user_path
from engine.trust.files import open_plain

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
# A pixel becomes a number of four bytes beside itself; gzip packs a thousand equal bytes into one.
NUMBERS, RATIO = 6, 1040


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

    head = 4 + 4 * dims
    with _opened(path) as file:
        start = file.read(head)
        if len(start) < 4 or start[:4] != bytes((0, 0, 8, dims)):
            raise UserError(
                f"{path}: no idx file of {dims}-dimensional bytes (it starts with {start[:4].hex() or 'nothing'})"
            )
        shape = [int.from_bytes(start[at : at + 4], "big") for at in range(4, head, 4)]
        promised = head + math.prod(shape)
        # A small gzip file may unpack to gigabytes: no more is read than the header announces, and
        # one byte that tells a longer file.
        possible = min(
            promised, path.stat().st_size * (RATIO if path.suffix == ".gz" else 1)
        )
        require_memory(
            NUMBERS * possible, f"{path}: its header promises {promised} bytes; it"
        )
        raw = start + file.read(possible + 1 - len(start))
    if len(raw) != promised:
        what = "truncated" if len(raw) < promised else "too long"
        has = f"it has {len(raw)}" if len(raw) < promised else "it has more"
        raise UserError(
            f"{path}: {what}: its header promises {promised} bytes, {has}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The plain content of a file. Raises UserError for what cannot be read or unpacked."""
    try:
        with os.fdopen(open_plain(path, os.O_RDONLY, follow=True), "rb") as file:
            unpacked = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            yield cast(IO[bytes], unpacked)
    except EOFError as problem:
        raise UserError(
            f"{path}: truncated: the gzip stream ends too early; fetch it again"
        ) from problem
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise UserError(
            f"{path}: damaged gzip file ({problem}); fetch it again"
        ) from problem
    except OSError as problem:
        raise UserError(
            f"{path}: cannot be read: {problem.strerror or problem}"
        ) from problem


def load_idx(paths: list[Path]) -> Data:
    """Images as [N, 1, height, width] in 0 to 1, and labels, of the four files."""
    from engine.experiment.data import Data

    train, test = _pair(*paths[:2]), _pair(*paths[2:])
    sizes = [" x ".join(map(str, images.shape[2:])) for images, _ in (train, test)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{paths[2]}: images of {sizes[1]}, but those for training in {paths[0]} are {sizes[0]}"
        )
    return Data(*train, *test, CLASSES)


def _pair(images_path: Path, labels_path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if not images[:1].size:
        raise UserError(
            f"{images_path}: there are no images in it, or images without pixels"
        )
    if len(images) != len(labels):
        raise UserError(
            f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}"
        )
    if labels.max() >= CLASSES:
        raise UserError(
            f"{labels_path}: label {labels.max()} is not one of 0 to {CLASSES - 1}"
        )
    return torch.tensor(images).unsqueeze(1).float().div_(255), torch.tensor(
        labels
    ).long()
