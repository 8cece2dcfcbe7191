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
    smoothing = float(settings.get("label_smoothing") or 0.0)
    if not 0 <= smoothing <= 1:
        raise UserError(
            f"loss.label_smoothing must be >= 0 and <= 1, not {smoothing:g}"
        )

    def loss(output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if output.dim() > 2:  # torch adds such losses up in no fixed order on a GPU
            output, label = output.movedim(1, -1).flatten(0, -2), label.flatten()
        plain = function(output, label, reduction)
        if not smoothing:
            return plain
        return (1 - smoothing) * plain + smoothing * _of_all(output, name, reduction)

    return loss


def _of_all(output: torch.Tensor, name: str, reduction: str) -> torch.Tensor:
    """The loss of an output [B, classes] averaged over all labels that a sample could have."""
    classes = output.shape[1]
    if name == "mse":
        # Of one-hot targets: a sum over classes of the mean over labels.
        squares = ((classes - 1) * output.square() + (output - 1).square()) / classes
        return squares.mean() if reduction == "mean" else squares.sum()
    scores = functional.log_softmax(output, 1) if name == "cross_entropy" else output
    losses = -scores.mean(1)
    return losses.mean() if reduction == "mean" else losses.sum()


def _nll(output: torch.Tensor, label: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.nll_loss(output, label, reduction=reduction)


def _cross_entropy(
    output: torch.Tensor, label: torch.Tensor, reduction: str
) -> torch.Tensor:
    return functional.cross_entropy(output, label, reduction=reduction)


def _mse(output: torch.Tensor, label: torch.Tensor, reduction: str) -> torch.Tensor:
    target = functional.one_hot(label, output.shape[1]).to(output.dtype)
    return functional.mse_loss(output, target, reduction=reduction)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]] = {
    "nll": _nll,
    "cross_entropy": _cross_entropy,
    "mse": _mse,
}
