"""The result of a training in a few figures: summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.experiment.lifecycle.verdict import Verdict

if TYPE_CHECKING:
    from engine.experiment.loop import Place

VALID = "valid_accuracy"
# Figures of the last epoch that only some data sets have.
OPTIONAL = ("test_perplexity", "valid_accuracy", "valid_loss", "valid_perplexity")


def summarise(
    place: Place, record: Mapping[str, Any], verdict: Verdict
) -> dict[str, Any]:
    """The figures of a training that has come to its end. Infinite and undefined
    figures are None."""
    last, best = place.rows[-1], best_row(place.rows)
    figures = {
        "status": verdict.status,
        "name": record["name"],
        "test_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "best_test_accuracy": best["test_accuracy"],
        **{key: last[key] for key in OPTIONAL if key in last},
        **({"best_valid_accuracy": best[VALID]} if VALID in best else {}),
        "best_epoch": best["epoch"],
        "selected_on": selected_on(last),
        "epochs": place.epoch,
        "samples": place.samples,
        "seconds": last["seconds"],
        "samples_per_second": round(
            place.samples / max(place.training_seconds, 1e-9), 1
        ),
        "seed": record["seed"],
    }
    if verdict.reason:
        figures["reason"] = verdict.reason
    return {
        **{key: _number(value) for key, value in figures.items()},
        "notes": verdict.notes,
    }


def best_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best epoch: by its validation accuracy if some data was set aside for that, else by its
    test accuracy, which then looks better than it is."""
    return max(rows, key=lambda row: row.get(VALID, row["test_accuracy"]))


def selected_on(row: Mapping[str, Any]) -> str:
    """Which data choose the best epoch of a run, or the best of several runs."""
    return "validation" if VALID in row else "test"


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
