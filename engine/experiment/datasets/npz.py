"""Arrays of NumPy in one file: `dataset.path=FILE.npz` with x_train, y_train, x_test, y_test.

Other usual names are understood (train_images, test_labels, X, y, ...), and a part for validation.
Without a test part, `dataset.test_part` of each class is for testing."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.feeding.arrays import labels, samples
from engine.experiment.feeding.split import held_out
from engine.readers.wording import listed
from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import numpy as np

    from engine.experiment.data import Data

ABOUT = (
    "Arrays of your own in a .npz file: images or rows of numbers, and their labels."
)
SOURCE = ""
PARTS = {"train": "train", "test": "test", "val": "valid", "valid": "valid"}
KINDS = {"x": "x", "images": "x", "image": "x", "data": "x", "inputs": "x",
         "y": "y", "labels": "y", "label": "y", "targets": "y", "target": "y"}  # fmt: skip


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The file that `dataset.path` names."""
    path = user_path(str(settings.get("path") or ""))
    if not settings.get("path") or not path.is_file():
        what = (
            f"no file {path}"
            if settings.get("path")
            else "npz needs dataset.path=FILE.npz"
        )
        raise UserError(f"dataset.path: {what}")
    return [path]


def load(settings: Mapping[str, Any]) -> Data:
    """Samples and labels of the parts that the file has."""
    from engine.experiment.data import Data

    path = files(settings)[0]
    x, y = _parts(path)
    inputs = {name: samples(f"{path}: {name}", array) for name, array in x.items()}
    outputs, classes = labels(str(path), y)
    for name, part in inputs.items():
        if len(part) != len(outputs[name]):
            raise UserError(
                f"{path}: {len(part)} samples and {len(outputs[name])} labels ({name})"
            )
    if "test" not in inputs:
        test = held_out(outputs["train"], settings)
        inputs |= {"test": inputs["train"][test], "train": inputs["train"][~test]}
        outputs |= {"test": outputs["train"][test], "train": outputs["train"][~test]}
    return Data(
        inputs["train"],
        outputs["train"],
        inputs["test"],
        outputs["test"],
        classes,
        inputs.get("valid"),
        outputs.get("valid"),
    )


def _parts(
    path: Path,
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """Arrays of samples and of labels by their part. Raises UserError."""
    import numpy as np

    found: dict[str, dict[str, np.ndarray[Any, Any]]] = {"x": {}, "y": {}}
    try:
        # Nothing is unpickled: an array of objects would run code.
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            for name in names:
                meaning = _meaning(name)
                if meaning is not None:
                    found[meaning[0]][meaning[1]] = archive[name]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as problem:
        raise UserError(
            f"{path}: not a file of plain NumPy arrays: {problem}"
        ) from problem
    if "train" not in found["x"] or set(found["x"]) != set(found["y"]):
        raise UserError(
            f"{path} holds {listed(names)}; it needs x_train and y_train (and x_test, y_test), or x and y"
        )
    return found["x"], found["y"]


def _meaning(name: str) -> tuple[str, str] | None:
    """Kind and part of an array: `train_images` is x of train, `y` alone that of train."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    kinds = [KINDS[word] for word in words if word in KINDS]
    parts = [PARTS[word] for word in words if word in PARTS]
    if len(kinds) != 1 or len(parts) > 1 or len(words) != len(kinds) + len(parts):
        return None
    return kinds[0], parts[0] if parts else "train"
