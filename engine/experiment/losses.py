"""Losses on a batch of network outputs [B, classes] and labels [B], or [B, classes, T] and [B, T]
over T signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from engine.settings import UserError

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
REDUCTIONS = ("sum", "mean")


def make_loss(settings: Mapping[str, Any]) -> LossFunction:
    """The loss that the group `loss` names; its value is a sum or a mean over the batch."""
    name, reduction = settings["name"], settings.get("reduction", "sum")
    if name not in LOSSES:
        raise UserError(f"loss.name: no loss {name!r}; there are {', '.join(LOSSES)}")
    if reduction not in REDUCTIONS:
        raise UserError(
            f"loss.reduction: must be one of {', '.join(REDUCTIONS)}, not {reduction!r}"
        )
    function = LOSSES[name]

    def loss(output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if output.dim() > 2:  # torch adds such losses up in no fixed order on a GPU
            output, label = output.movedim(1, -1).flatten(0, -2), label.flatten()
        return function(output, label, reduction)

    return loss


def _nll(output: torch.Tensor, label: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.nll_loss(output, label, reduction=reduction)


def _cross_entropy(output: torch.Tensor, label: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.cross_entropy(output, label, reduction=reduction)


def _mse(output: torch.Tensor, label: torch.Tensor, reduction: str) -> torch.Tensor:
    target = functional.one_hot(label, output.shape[1]).to(output.dtype)
    return functional.mse_loss(output, target, reduction=reduction)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]] = {
    "nll": _nll,
    "cross_entropy": _cross_entropy,
    "mse": _mse,
}
