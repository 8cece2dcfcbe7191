"""Times with units."""

from __future__ import annotations

import math
import re
from typing import Any

from engine.readers.wording import nearest_of
from engine.settings import UserError

UNITS = {
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "week": 604800.0,
    "month": 2628000.0,
    "y": 31536000.0,
}
NAMES = {"sec": "s", "second": "s", "minute": "min", "hour": "h", "day": "d", "w": "week", "mo": "month", "year": "y",
         "yr": "y", "a": "y"}  # fmt: skip


def seconds(value: Any, where: str = "time") -> float:
    """Seconds of a number, or of a text such as `1h` or `2.5 d`. Raises UserError in one line."""
    if isinstance(value, str):
        found = re.fullmatch(
            r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*", value
        )
        if found is None:
            raise UserError(
                f"{where} must be a number with a unit, such as 1h, not {value!r}"
            )
        number, unit = float(found[1]), found[2] or "s"
        number *= _unit(unit, where, value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(
            f"{where} must be a number with a unit, such as 1h, not {value!r}"
        )
    else:
        number = float(value)
    if number < 0:
        raise UserError(f"{where} must not be negative: {value!r}")
    if not math.isfinite(number):
        raise UserError(f"{where} must be finite, not {value!r}")
    return number


def label(time: float) -> str:
    """A time in the largest unit that gives a number of at least 1: `1 h` for 3600."""
    unit = next((u for u in reversed(UNITS) if time >= UNITS[u]), "s")
    return f"{time / UNITS[unit]:.4g} {unit}"


def _unit(unit: str, where: str, value: str) -> float:
    singular = unit.removesuffix("s") if len(unit) > 2 else unit
    name = next(
        (
            n
            for n in (unit, NAMES.get(unit, ""), singular, NAMES.get(singular, ""))
            if n in UNITS
        ),
        "",
    )
    if name:
        return UNITS[name]
    near = nearest_of(unit, UNITS)
    hint = f"nearest: {near}; " if near else ""
    raise UserError(
        f"{where} {value!r} has an unknown unit {unit!r}; {hint}there are {', '.join(UNITS)}"
    )
