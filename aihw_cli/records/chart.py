"""Curves in plain characters, for a terminal or a pipe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.trust.text import visible

WIDTH, HEIGHT = 64, 16
MARKS = "*o+x#@%&=^~$"
SPREAD = "."
DARK = " .:-=+*#%@"


@dataclass(frozen=True)
class Line:
    """A curve with a name; `low` and `high` bound its band, if it has one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = field(default=())
    high: Sequence[float] = field(default=())


@dataclass(frozen=True)
class _Axis:
    """From values to cells."""

    low: float
    high: float
    size: int
    log: bool

    def at(self, value: float) -> int | None:
        """The cell of a value; None if it has none."""
        value = _scaled(value, self.log)
        if not math.isfinite(value):
            return None
        return min(
            self.size - 1,
            max(
                0,
                round(
                    (value - self.low) / ((self.high - self.low) or 1) * (self.size - 1)
                ),
            ),
        )


def chart(
    lines: Sequence[Line],
    *,
    labels: tuple[str, str],
    log: str = "",
    height: int = HEIGHT,
) -> list[str]:
    """The lines of text that draw curves over each other; `log` names logarithmic axes (x, y,
    xy)."""
    across = _axis([x for line in lines for x in line.x], WIDTH, "x" in log)
    values = [v for line in lines for v in (*line.y, *line.low, *line.high)]
    up = _axis(values, height, "y" in log)
    grid = [[" "] * WIDTH for _ in range(height)]
    for line in lines:
        for x, low, high in zip(line.x, line.low, line.high, strict=False):
            _band(grid, across.at(x), (up.at(low), up.at(high)))
    for line, mark in zip(lines, MARKS * (len(lines) // len(MARKS) + 1), strict=False):
        for x, y in _between(line, across):
            row = up.at(y)
            if row is not None:
                grid[height - 1 - row][x] = mark
    ends = {0: _end(up.high, up.log), height - 1: _end(up.low, up.log)}
    body = [
        f"{ends.get(k, ''):>10} |{''.join(row).rstrip()}" for k, row in enumerate(grid)
    ]
    left, right = _end(across.low, across.log), _end(across.high, across.log)
    foot = [f"{'':>10} +{'-' * WIDTH}", f"{'':>12}{left}{right:>{WIDTH - len(left)}}"]
    foot.append(f"{'':>12}{labels[0]:^{WIDTH}}".rstrip())
    named = [
        f"{'':>12}{mark} {visible(line.name)}"
        for line, mark in zip(lines, MARKS * len(lines), strict=False)
        if line.name
    ]
    return [f"{'':>12}{labels[1]}", *body, *foot, *named]


def heat(
    rows: Sequence[Sequence[float]], *, names: tuple[Sequence[str], Sequence[str]]
) -> list[str]:
    """A table of values, shaded from the smallest to the largest; `names` are those of rows and
    columns."""
    known = [value for row in rows for value in row if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    width = max(10, *(len(name) + 2 for name in names[1]))
    side = max(len(name) for name in names[0])
    lines = [f"{'':>{side}}" + "".join(f"{name:>{width}}" for name in names[1])]
    for name, row in zip(names[0], rows, strict=True):
        lines.append(
            f"{name:>{side}}"
            + "".join(f"{_shade(value, low, high):>{width}}" for value in row)
        )
    return lines


def _shade(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "-"
    dark = DARK[
        min(len(DARK) - 1, int((value - low) / ((high - low) or 1) * len(DARK)))
    ]
    return f"{value:.4g} {dark}"


def _axis(values: Sequence[float], size: int, log: bool) -> _Axis:
    known = [v for v in (_scaled(value, log) for value in values) if math.isfinite(v)]
    return _Axis(min(known, default=0.0), max(known, default=1.0), size, log)


def _scaled(value: float, log: bool) -> float:
    if not log:
        return value
    return math.log10(value) if value > 0 else math.nan


def _end(value: float, log: bool) -> str:
    return f"{10**value if log else value:.4g}"


def _band(
    grid: list[list[str]], column: int | None, ends: tuple[int | None, int | None]
) -> None:
    low, high = ends
    if column is None or low is None or high is None:
        return
    for row in range(low, high + 1):
        grid[len(grid) - 1 - row][column] = SPREAD


def _between(line: Line, across: _Axis) -> list[tuple[int, float]]:
    """A value for each column from the first point to the last, on straight lines between the
    points."""
    points = [
        (across.at(x), y)
        for x, y in zip(line.x, line.y, strict=True)
        if math.isfinite(y)
    ]
    known = sorted((x, y) for x, y in points if x is not None)
    found = dict(known)
    for (x0, y0), (x1, y1) in itertools.pairwise(known):
        for x in range(x0 + 1, x1):
            found.setdefault(x, y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return sorted(found.items())
