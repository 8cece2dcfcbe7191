"""A test part for data that come without one: the same samples whatever the seed of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.settings import UserError

if TYPE_CHECKING:
    import torch

SEED = 20


def held_out(labels: torch.Tensor, settings: Mapping[str, Any]) -> torch.Tensor:
    """True where a sample is for testing: of each class the share `dataset.test_part`, drawn once
    and for all. Raises UserError if a class would have none on one side."""
    import torch

    part = float(settings.get("test_part", 0.1))
    if part >= 1:
        raise UserError(
            f"dataset.test_part must be below 1 for {settings['name']}, not {part:g}"
        )
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(SEED)
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        count = max(1, round(part * len(places)))
        if count >= len(places):
            raise UserError(
                f"dataset {settings['name']}: class {int(label)} has {len(places)} samples: too few "
                "for training and testing"
            )
        order = torch.randperm(len(places), generator=generator)
        chosen[places[order[:count]]] = True
    return chosen


def numbered(names: Sequence[Any]) -> tuple[list[Any], dict[Any, int]]:
    """The different labels in their order, and the number of each."""
    kinds = sorted(set(names))
    return kinds, {kind: number for number, kind in enumerate(kinds)}
