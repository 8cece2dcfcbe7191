"""Transforms of torchvision by name: `dataset.transforms` for all samples, `dataset.augment` for
those of training alone.

The list is closed and arguments are plain values, so that a recipe of a stranger can choose among
transforms and bring none along."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.readers.wording import brief, first_line, listed, unknown
from engine.settings import UserError

if TYPE_CHECKING:
    import torch

    Transform = Callable[[torch.Tensor], torch.Tensor]

# Every call gives the same.
FIXED = ("CenterCrop", "Grayscale", "Pad", "Resize")
# Every sample and epoch draws anew. All of them take tensors of floating-point numbers in [0, 1].
RANDOM = (
    "AugMix", "ColorJitter", "ElasticTransform", "GaussianBlur", "GaussianNoise", "RandAugment",
    "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast", "RandomCrop", "RandomErasing", "RandomGrayscale",
    "RandomHorizontalFlip", "RandomInvert", "RandomPerspective", "RandomResizedCrop", "RandomRotation",
    "RandomVerticalFlip", "TrivialAugmentWide",
)  # fmt: skip
ALLOWED = {"transforms": FIXED, "augment": (*FIXED, *RANDOM)}


def make_transform(key: str, entries: Any) -> Transform | None:
    """The transforms of `dataset.transforms` or `dataset.augment` as one function; None for an
    empty list. Raises UserError with the nearest name for what is not on the list."""
    if not entries:
        return None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise UserError(
            f"dataset.{key} must be a list of transforms, not {brief(entries)}"
        )
    steps = [
        _step(f"dataset.{key}[{number}]", key, entry)
        for number, entry in enumerate(entries)
    ]

    def apply(x: torch.Tensor) -> torch.Tensor:
        for step in steps:
            x = step(x)
        return x

    return apply


def apply_to(key: str, transform: Transform, x: torch.Tensor) -> torch.Tensor:
    """`transform` on samples x [.., C, H, W]. Raises UserError for samples that it does not take."""
    try:
        return transform(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as problem:
        shape = " x ".join(map(str, x.shape[-3:]))
        what = f"dataset.{key} cannot be applied to samples of {shape}"
        raise UserError(f"{what}: {first_line(problem)}") from problem


def _step(where: str, key: str, entry: Any) -> Transform:
    """One transform: its name, or a mapping with its name and arguments."""
    values = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise UserError(
            f"{where} must be a name or {{name: ..., argument: value}}, not {brief(entry)}"
        )
    name = values["name"]
    if name not in ALLOWED[key]:
        only = "; it is for dataset.augment" if name in ALLOWED["augment"] else ""
        hint = only or f"; {unknown(name, ALLOWED[key])}"
        raise UserError(f"{where}: no transform {brief(name)}{hint}")
    from torchvision.transforms import v2

    kind = getattr(v2, name, None)
    if kind is None:
        raise UserError(f"{where}: this version of torchvision has no {name}")
    arguments = {str(k): v for k, v in values.items() if k != "name"}
    known = [p for p in inspect.signature(kind).parameters if p != "inplace"]
    for argument, value in arguments.items():
        if argument not in known:
            raise UserError(
                f"{where}: {name} has no {brief(argument)}; {unknown(argument, known)}"
            )
        if isinstance(value, Mapping):
            raise UserError(
                f"{where}.{argument} must be a value or a list, not {brief(value)}"
            )
    try:
        made: Transform = kind(**arguments)
    except (TypeError, ValueError, KeyError) as problem:
        hint = f" (it has {listed(known)})" if isinstance(problem, TypeError) else ""
        raise UserError(f"{where}: {name}: {first_line(problem)}{hint}") from problem
    return made
