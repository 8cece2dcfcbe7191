"""CIFAR-10: small colour photographs of ten kinds of things, 32 x 32, 50000 for training and 10000
for testing.

Its authors offer it in several forms. The binary one is read here. The one for Python is a pickle,
which may run any code when it is read: torchvision reads it, after comparing its checksum with the
published one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import numpy as np
    import torch

    from engine.experiment.data import Data

ABOUT = "Ten kinds of animals and vehicles, 32 x 32 in colour, scaled to 0 to 1; 50000 for training, 10000 for testing."
SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, Toronto (2009)"
SHAPE, CLASSES = (3, 32, 32), 10
RECORD = 1 + 3 * 32 * 32
BINARY, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
PARTS = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The six files: binary in `root` or `root`/cifar-10-batches-bin, else torchvision's
    cifar-10-batches-py."""
    root = user_path(str(settings.get("root") or "data"))
    forms = [
        [folder / f"{part}.bin" for part in PARTS] for folder in (root, root / BINARY)
    ]
    forms += [
        [folder / part for part in PARTS]
        for folder in (root / PICKLED, root)
        if folder.name == PICKLED
    ]
    best = max(forms, key=_present)
    if _present(best) < len(PARTS) and settings.get("download"):
        _download(root)
        best = [root / PICKLED / part for part in PARTS]
    missing = [path.name for path in best if not path.is_file()]
    if missing:
        raise UserError(
            f"dataset.root: no {', '.join(missing)} in {best[0].parent} (looked for {BINARY} and {PICKLED} in {root})\n"
            f"give the folder that holds them (dataset.root=FOLDER), or dataset.download=true to fetch CIFAR10"
        )
    return best


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 3, 32, 32] and labels; no more of them than are asked for."""
    from engine.experiment.data import Data

    paths = files(settings)
    limits = [int(settings.get(f"{part}_samples") or 0) for part in ("train", "test")]
    if paths[0].suffix == ".bin":
        train, test = _records(paths[:5], limits[0]), _records(paths[5:], limits[1])
    else:
        train, test = (
            _unpickled(paths[0].parent, part == "train") for part in ("train", "test")
        )
    return Data(*_tensors(*train, limits[0]), *_tensors(*test, limits[1]), CLASSES)


def _present(paths: list[Path]) -> int:
    return sum(path.is_file() for path in paths)


def _records(
    paths: list[Path], limit: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images and labels of binary files, until there are `limit` of them (0 = all)."""
    import numpy as np

    found: list[np.ndarray[Any, Any]] = []
    for path in paths:
        if limit and sum(map(len, found)) >= limit:
            break
        try:
            raw = np.fromfile(path, np.uint8)
        except OSError as problem:
            raise UserError(
                f"{path}: cannot be read: {problem.strerror or problem}"
            ) from problem
        if len(raw) == 0 or len(raw) % RECORD:
            raise UserError(
                f"{path}: not whole: {len(raw)} bytes are no multiple of {RECORD}; fetch it again"
            )
        records = raw.reshape(-1, RECORD)
        if records[:, 0].max() >= CLASSES:
            raise UserError(
                f"{path}: no CIFAR-10 file: it has a label {records[:, 0].max()}, labels are 0 to 9"
            )
        found.append(records)
    whole = np.concatenate(found)
    return whole[:, 1:].reshape(-1, *SHAPE), whole[:, 0]


def _unpickled(
    folder: Path, train: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(str(folder.parent), train=train, download=False)
    except RuntimeError as problem:
        raise UserError(
            f"{folder}: not the published files (their checksums differ); fetch them again"
        ) from problem
    return found.data.transpose(0, 3, 1, 2), np.asarray(found.targets)


def _tensors(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `limit` samples (0 = all), in 0 to 1."""
    import numpy as np
    import torch

    count = limit or len(labels)
    pixels = torch.from_numpy(np.ascontiguousarray(images[:count])).float().div_(255)
    return pixels, torch.from_numpy(labels[:count].astype(np.int64))


def _download(root: Path) -> None:
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(str(root), download=True)
    except (OSError, RuntimeError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(
            f"dataset.download: fetching CIFAR10 into {root} failed: {first}"
        ) from problem
