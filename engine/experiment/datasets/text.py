"""A text file of the user's own, sign by sign: each sample is a piece of it, its labels are the
signs that follow.

The end of the text is for testing, a part before it for validation if that is wanted, the rest for
training. Each of them is cut into as many streams as a batch has samples; batch after batch goes on
where the last one ended, so that a network may keep its state while gradients travel back over one
piece only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError, user_path
from engine.trust.files import read_bytes

if TYPE_CHECKING:
    import torch

    from engine.experiment.data import Data

ABOUT = "A text file, sign by sign; its end is for testing. Every sign that occurs is one class."
SOURCE = ""


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The file that `dataset.path` names."""
    if not settings.get("path"):
        raise UserError(
            "dataset.path: text needs the file that shall be learned: dataset.path=FILE.txt"
        )
    path = user_path(str(settings["path"]))
    if not path.is_file():
        raise UserError(f"dataset.path: no file {path}")
    return [path]


def load(settings: Mapping[str, Any]) -> Data:
    """Numbers of signs [N, T], and those of the signs that follow."""
    from engine.experiment.data import Data

    if settings.get("shuffle", True) or settings.get("mean") or settings.get("std"):
        raise UserError(
            "dataset.shuffle, mean, std: text is read in order and as it is: shuffle=false, no mean or std"
        )
    path = files(settings)[0]
    signs, classes = _signs(path)
    test, valid = (
        _part(settings, "test_part", len(signs)),
        _part(settings, "valid_part", len(signs)),
    )
    ends = max(0, len(signs) - test - valid), max(0, len(signs) - test)
    length, many = int(settings["sequence_length"]), int(settings["batch_size"])
    parts = {
        "training": signs[: ends[0]],
        "validation": signs[ends[0] : ends[1]],
        "testing": signs[ends[1] :],
    }
    for name, part in parts.items():
        if len(part) <= length and (len(part) or name != "validation"):
            raise UserError(
                f"dataset.path: {path.name} has {len(signs)} signs, {len(part)} of them for {name}, too few for a "
                f"sample of {length}; lower dataset.sequence_length, or change dataset.test_part and valid_part"
            )
    most = int(settings.get("test_batch_size") or many)
    train_x, train_y = _streams(parts["training"], many, length)
    test_x, test_y = _streams(parts["testing"], most, length)
    held = _streams(parts["validation"], most, length) if valid else (None, None)
    return Data(train_x, train_y, test_x, test_y, classes, *held)


def _signs(path: Path) -> tuple[torch.Tensor, int]:
    """The text as numbers, by the order of its signs in Unicode, and how many different ones there
    are."""
    import numpy as np
    import torch

    try:
        # A text may be larger than any recipe; a pipe or a device is none.
        text = read_bytes(path, follow=True).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {problem}") from problem
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise UserError(f"{path}: the file is empty")
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    found, numbers = np.unique(points, return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64)), len(found)


def _part(settings: Mapping[str, Any], key: str, whole: int) -> int:
    """A share of the text in signs; from 1 on the number itself."""
    wanted = float(settings[key])
    return int(wanted if wanted >= 1 else wanted * whole)


def _streams(
    signs: torch.Tensor, many: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [N, T] and labels, so that rows k and k + `many` follow each other; fewer streams of
    a short text."""
    many = max(1, min(many, (len(signs) - 1) // length))
    each = (len(signs) - 1) // many
    pieces = each // length

    def cut(first: int) -> torch.Tensor:
        rows = signs[first : first + many * each].view(many, each)[:, : pieces * length]
        return (
            rows.reshape(many, pieces, length)
            .transpose(0, 1)
            .reshape(-1, length)
            .contiguous()
        )

    return cut(0), cut(1)
