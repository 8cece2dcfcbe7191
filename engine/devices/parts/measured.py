"""Reads measured steps from a CSV file: columns weight, step_up, step_down and, if known, their
spreads."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.devices.base import MAX_NODES
from engine.readers.plain import read_text
from engine.readers.wording import nearest_of
from engine.trust.files import TEXT_LIMIT

NEEDED = ("weight", "step_up", "step_down")
SPREADS = ("step_up_std", "step_down_std")
Columns = dict[str, list[float]]


def read_steps(path: Path) -> dict[str, Any]:
    """Parameters of a table-driven device. Raises ValueError with file and line.

    Steps may be given as sizes or as changes (down steps negative). A weight axis without 0, as
    conductances have, is centred and scaled to -1 .. 1. Lines that start with # are comments."""
    columns = _read_columns(path)
    weight = columns["weight"]
    if not weight[0] <= 0.0 <= weight[-1]:
        _centre(columns)
    if sum(columns["step_down"]) < 0.0:
        columns["step_down"] = [-v for v in columns["step_down"]]
    grid = _grid(weight)
    tables = {
        name: [interpolate(weight, columns[name], at) for at in grid]
        for name in NEEDED[1:] + SPREADS
    }
    unit = max(interpolate(weight, columns[name], 0.0) for name in NEEDED[1:])
    if unit <= 0.0:
        raise ValueError(
            f"{path}: at weight 0 neither an up nor a down step is positive"
        )
    scaled = {
        k.replace("step", "table"): [v / unit for v in values]
        for k, values in tables.items()
    }
    return {"w_min": weight[0], "w_max": weight[-1], "dw_min": unit, **scaled}


def interpolate(places: list[float], values: list[float], at: float) -> float:
    """The polygon through (places, values) at `at`; constant beyond its ends."""
    right = min(max(bisect_right(places, at), 1), len(places) - 1)
    span = places[right] - places[right - 1]
    share = min(max((at - places[right - 1]) / span, 0.0), 1.0)
    return (1.0 - share) * values[right - 1] + share * values[right]


def _centre(columns: Columns) -> None:
    """Moves the middle of the weight axis to 0 and its ends to -1 and 1; steps are scaled alike."""
    weight = columns["weight"]
    middle, half = 0.5 * (weight[0] + weight[-1]), 0.5 * (weight[-1] - weight[0])
    weight[:] = [(v - middle) / half for v in weight]
    for name in NEEDED[1:] + SPREADS:
        columns[name] = [v / half for v in columns[name]]


def _grid(weight: list[float]) -> list[float]:
    """Evenly spread nodes: the measured weights where these already are, else as many as a table
    can hold."""
    low, span, last = weight[0], weight[-1] - weight[0], len(weight) - 1
    even = all(
        abs(v - (low + span * k / last)) < 1e-6 * span for k, v in enumerate(weight)
    )
    nodes = len(weight) if even and len(weight) <= MAX_NODES else MAX_NODES
    return [low + span * k / (nodes - 1) for k in range(nodes)]


def _read_columns(path: Path) -> Columns:
    """The columns, sorted by weight; spreads that are not given are 0."""
    lines = read_text(path, limit=TEXT_LIMIT).splitlines()
    numbered = [
        (n, line)
        for n, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    table = list(csv.reader(line for _, line in numbered))
    header = [name.strip() for name in table[0]] if table else []
    _check_header(path, header)
    rows = sorted(
        _numbers(f"{path}:{n}", header, cells)
        for (n, _), cells in zip(numbered[1:], table[1:], strict=True)
    )
    if len(rows) < 2 or any(a[0] == b[0] for a, b in pairwise(rows)):
        raise ValueError(
            f"{path} must hold at least two rows, each with a weight of its own"
        )
    order = [name for name in NEEDED + SPREADS if name in header]
    columns = {name: [row[k] for row in rows] for k, name in enumerate(order)}
    return {name: [0.0] * len(rows) for name in SPREADS} | columns


def _check_header(path: Path, header: list[str]) -> None:
    for name in NEEDED:
        if name not in header:
            near = nearest_of(name, header)
            hint = f" (is it {near!r}?)" if near else ""
            raise ValueError(
                f"{path} has no column {name!r}{hint}; it needs {', '.join(NEEDED)}"
            )
    for name in header:
        if name not in NEEDED + SPREADS or header.count(name) > 1:
            raise ValueError(
                f"{path}: column {name!r} is unknown or twice; there are {', '.join(NEEDED + SPREADS)}"
            )


def _numbers(where: str, header: list[str], cells: list[str]) -> list[float]:
    """One row as numbers, in the order of NEEDED and SPREADS."""
    try:
        row = dict(zip(header, (float(cell) for cell in cells), strict=True))
    except ValueError:
        raise ValueError(
            f"{where}: expected {len(header)} numbers, found {', '.join(cells)!r}"
        ) from None
    values = [row[name] for name in NEEDED + SPREADS if name in row]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{where}: every number must be finite")
    return values
