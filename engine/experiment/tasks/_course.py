"""Accuracy of a programmed network over time: repeated programmings, each read at every time."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.inference import InferenceSpec, program
from engine.inference.times import label
from engine.tile.keys import derive
from engine.tile.tile import Tile
from engine.trust.files import read_text

if TYPE_CHECKING:
    from torch import nn

NONE = "none"
# Reads that are set aside for each time of each programming, so that its noise depends on nothing
# before it.
READS = 20_000
SEEDS = (1 << 62) - 1


# Loss and accuracy of a network on the test set.
Test = Callable[["nn.Module"], tuple[float, float]]


def course(
    model: nn.Module, spec: InferenceSpec, test: Test, *, seed: int, done: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each programming from number `done` on: figures with and without compensation at
    each time."""
    model.eval()
    tiles = [module for module in model.modules() if isinstance(module, Tile)]
    ways = [spec.compensation, NONE] if spec.compensation != NONE else [NONE]
    for repeat in range(done, spec.repeats):
        _set_reads(tiles, repeat * (len(spec.times) + 1))
        rows = []
        with program(model, spec, seed=derive(seed, repeat) & SEEDS) as programmed:
            for number, time in enumerate(spec.seconds(), 1):
                place = repeat * (len(spec.times) + 1) + number
                _set_reads(tiles, place)
                programmed.drift_to(time)
                for way in ways:
                    programmed.compensate(way != NONE)
                    _set_reads(tiles, place, READS // 2)
                    loss, accuracy = test(model)
                    row = {"repeat": repeat + 1, "time": time, "compensation": way}
                    rows.append({**row, "accuracy": accuracy, "loss": loss})
        yield rows


def _set_reads(tiles: Sequence[Tile], place: int, offset: int = 0) -> None:
    for tile in tiles:
        tile.read_calls = place * READS + offset


def points(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the programmings for each time and compensation, in the order of
    `rows`."""
    found: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["time"], row["compensation"]), []).append(row)
    return [_point(same) for same in found.values()]


def _point(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [row["accuracy"] for row in rows]
    return {
        "time": rows[0]["time"],
        "after": label(rows[0]["time"]),
        "compensation": rows[0]["compensation"],
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
        "loss": statistics.fmean(row["loss"] for row in rows),
        "repeats": len(values),
    }


def read_rows(path: Path, each: int) -> list[dict[str, Any]]:
    """The rows of whole programmings (`each` rows) that an earlier, interrupted evaluation left in
    metrics.csv."""
    try:
        rows = [
            {
                "repeat": int(row["repeat"]),
                "time": float(row["time"]),
                "compensation": row["compensation"],
                "accuracy": float(row["accuracy"]),
                "loss": float(row["loss"]),
            }
            for row in csv.DictReader(read_text(path).splitlines())
        ]
    except (OSError, KeyError, TypeError, ValueError):
        return []
    return rows[: len(rows) // each * each]
