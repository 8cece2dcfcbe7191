"""When training ends before its last epoch, and which epoch is the best one.

Both are functions of the rows of epochs so far, so that a run that goes on decides as it would have
without an interruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.experiment.lifecycle.summary import VALID
from engine.settings import UserError

Rows = Sequence[Mapping[str, Any]]
CHOOSING = ("patience", "keep_best")


def check_choice(run: Mapping[str, Any], *, validated: bool) -> None:
    """Raises UserError where something would be chosen by test data."""
    for key in CHOOSING:
        if run.get(key) and not validated:
            raise UserError(
                f"run.{key}={run[key]} chooses by valid_accuracy: set training samples aside for it "
                "with dataset.valid_part=0.1"
            )


def epochs_without_gain(rows: Rows) -> int:
    """How many epochs ago the best valid_accuracy was reached for the first time."""
    accuracies = [row[VALID] for row in rows]
    return len(rows) - 1 - accuracies.index(max(accuracies)) if rows else 0


def stops(rows: Rows, patience: int) -> bool:
    """Whether `patience` epochs have brought nothing."""
    return patience > 0 and epochs_without_gain(rows) >= patience


def is_best(rows: Rows) -> bool:
    """Whether the last epoch is better than all before it."""
    return bool(rows) and epochs_without_gain(rows) == 0


def stopped_note(rows: Rows, run: Mapping[str, Any]) -> list[str]:
    """A remark for the result of a training that ended early."""
    patience, epochs = int(run.get("patience") or 0), int(run["epochs"])
    if len(rows) >= epochs or not stops(rows, patience):
        return []
    best = rows[len(rows) - 1 - epochs_without_gain(rows)]
    return [
        f"stopped after epoch {len(rows)} of {epochs}: no better valid_accuracy than "
        f"{best[VALID]:.4f} (epoch {best['epoch']}) for {patience} epochs"
    ]
