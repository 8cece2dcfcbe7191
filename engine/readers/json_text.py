"""JSON that this program wrote once and anybody may have changed since."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine.readers.plain import read_text
from engine.readers.wording import first_line
from engine.settings import UserError

LIMIT = 64 << 20
DEPTH, DIGITS = 32, 100


def read_json(path: Path, limit: int = LIMIT) -> Any:
    """The value in a JSON file. Raises UserError that names the file."""
    return parse_json(read_text(path, limit=limit, follow=False), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value in a text of JSON; NaN and Infinity, which JSON lacks, become null as where we
    write them. Raises UserError that says `where`."""
    try:
        value = json.loads(
            text, parse_constant=lambda _: None, parse_int=_int, parse_float=_float
        )
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where} is damaged: not valid JSON: {first_line(error)}"
        ) from None
    if _deeper(value, DEPTH):
        raise UserError(
            f"{where} is damaged: more than {DEPTH} levels of lists and mappings"
        )
    return value


def _int(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and mappings lie in each other more than `levels` deep."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            item
            for outer in layer
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(layer)
