"""Which runs are meant: conditions on any key, written `key=value`, `key>0.1`, `key=0.1..1`,
`key~text`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from engine.records.run import Run, complete_key
from engine.settings import UserError

CONDITION = re.compile(r"([\w][\w.]*)\s*(!=|>=|<=|=|>|<|~)\s*(.*)", re.DOTALL)
WORDS = {"true": True, "false": False, "null": None, "none": None}
COMMA = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Condition:
    """One condition on a key. `=` takes several values (any of them), ranges `low..high`, and `*`
    in texts."""

    key: str
    sign: str
    text: str

    def holds(self, value: Any) -> bool:
        """Whether a value fulfils the condition; a run without the key has None."""
        if self.sign == "=":
            return any(_equal(value, text) for text in COMMA.split(self.text))
        if self.sign == "!=":
            return not any(_equal(value, text) for text in COMMA.split(self.text))
        if self.sign == "~":
            return value is not None and self.text.lower() in shown(value).lower()
        return _compare(value, self.sign, self.text)


def read_condition(word: str) -> Condition | None:
    """The condition that a word of the command line is; None if it is none. Raises UserError if it
    says nothing."""
    found = CONDITION.fullmatch(word)
    if found is None:
        return None
    key, sign, text = found.groups()
    if not text.strip():
        raise UserError(f"{word!r} lacks a value: {key}{sign}VALUE")
    if (
        sign in (">", "<", ">=", "<=")
        and math.isnan(_number(text))
        and not _is_date(text)
    ):
        raise UserError(f"{word!r}: {text} is no number")
    return Condition(key, sign, text.strip())


def select(
    runs: Iterable[Run], conditions: Sequence[Condition], keys: Mapping[str, None]
) -> list[Run]:
    """The runs that fulfil all conditions. Raises UserError for a key that no run has."""
    wanted = [
        (complete_key(condition.key, keys), condition) for condition in conditions
    ]
    return [
        run
        for run in runs
        if all(condition.holds(run.value(key)) for key, condition in wanted)
    ]


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return (
        value
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, list | dict)
        else str(value)
    )


def _equal(value: Any, text: str) -> bool:
    low, dots, high = text.partition("..")
    if dots and (low or high):
        ends = [
            _number(end) if end else sign * math.inf
            for end, sign in ((low, -1), (high, 1))
        ]
        if not any(math.isnan(end) for end in ends):
            return _is_number(value) and ends[0] <= value <= ends[1]
    if isinstance(value, str):
        return value == text or (
            any(c in text for c in "*?[") and fnmatchcase(value, text)
        )
    if isinstance(value, list):
        return json.dumps(value).replace(" ", "") == text.replace(" ", "")
    if value is None or isinstance(value, bool):
        return text.lower() in WORDS and WORDS[text.lower()] is value
    return _is_number(value) and math.isclose(value, _number(text), rel_tol=1e-9)


def _compare(value: Any, sign: str, text: str) -> bool:
    """Numbers by size, dates (texts that begin with a year) by time."""
    own: Any = value
    other: Any = _number(text)
    if isinstance(value, str) and _is_date(text):
        own, other = value[: len(text)], text
    elif not _is_number(value):
        return False
    return {">": own > other, "<": own < other, ">=": own >= other, "<=": own <= other}[
        sign
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(text: str) -> bool:
    return re.match(r"\d{4}-\d\d", text) is not None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
