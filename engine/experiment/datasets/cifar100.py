"""CIFAR-100: 32 x 32 photographs in colour of a hundred kinds, 50000 for training and 10000 for
testing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import numpy as np
    import torch

    from engine.experiment.data import Data

ABOUT = "A hundred kinds of things, 32 x 32 in colour, scaled to 0 to 1; 50000 for training, 10000 for testing."
SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, Toronto (2009)"
SHAPE, CLASSES = (3, 32, 32), 100
# Each record has a coarse label as well, which is not used.
RECORD = 2 + 3 * 32 * 32
BINARY, PICKLED = "cifar-100-binary", "cifar-100-python"


def files(settings: Mapping[str, Any]) -> list[Path]:
    """Both files: binary in `root` or `root`/cifar-100-binary, else torchvision's."""
    root = user_path(str(settings.get("root") or "data"))
    forms = [
        [folder / f"{part}.bin" for part in ("train", "test")]
        for folder in (root, root / BINARY)
    ]
    forms += [
        [folder / part for part in ("train", "test")] for folder in (root / PICKLED,)
    ]
    for form in forms:
        if all(path.is_file() for path in form):
            return form
    if settings.get("download"):
        _download(root)
        return forms[-1]
    raise UserError(
        f"dataset.root: no files of CIFAR-100 in {root} (looked for {BINARY} and {PICKLED})\n"
        "give the folder that holds them (dataset.root=FOLDER), or dataset.download=true to fetch CIFAR100"
    )


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, 3, 32, 32] and their fine labels."""
    from engine.experiment.data import Data

    paths = files(settings)
    read = _records if paths[0].suffix == ".bin" else _unpickled
    return Data(*_tensors(*read(paths[0])), *_tensors(*read(paths[1])), CLASSES)


def _records(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np

    raw = np.fromfile(path, np.uint8)
    if len(raw) == 0 or len(raw) % RECORD:
        raise UserError(
            f"{path}: not whole: {len(raw)} bytes are no multiple of {RECORD}; fetch it again"
        )
    records = raw.reshape(-1, RECORD)
    if records[:, 1].max() >= CLASSES:
        raise UserError(
            f"{path}: no CIFAR-100 file: it has a label {records[:, 1].max()}"
        )
    return records[:, 2:].reshape(-1, *SHAPE), records[:, 1]


def _unpickled(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Torchvision unpickles files of the published checksums alone."""
    import numpy as np
    from torchvision.datasets import CIFAR100

    try:
        found = CIFAR100(
            str(path.parent.parent), train=path.name == "train", download=False
        )
    except RuntimeError as problem:
        raise UserError(
            f"{path}: not the published file (its checksum differs); fetch it again"
        ) from problem
    return found.data.transpose(0, 3, 1, 2), np.asarray(found.targets)


def _tensors(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(images)).float().div_(255)
    return pixels, torch.from_numpy(labels.astype(np.int64))


def _download(root: Path) -> None:
    from torchvision.datasets import CIFAR100

    try:
        CIFAR100(str(root), download=True)
    except (OSError, RuntimeError) as problem:
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise UserError(
            f"dataset.download: fetching CIFAR100 into {root} failed: {first}"
        ) from problem
