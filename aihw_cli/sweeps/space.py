"""What a search varies, in Hydra's grammar: interval(), range(), choice(), a,b; tag(log,...) is a
log scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aihw_cli import overrides
from engine.readers.wording import brief
from engine.settings import UserError

HINT = "write interval(1e-3,1e-1), tag(log,interval(1e-3,1e-1)), int(interval(1,9)), range(1,9) or choice(a,b)"


@dataclass(frozen=True)
class Dimension:
    """One key that varies: between `low` and `high`, in steps if `step` is not 0, or over
    `choices`."""

    key: str
    low: float = 0
    high: float = 0
    step: float = 0
    log: bool = False
    choices: tuple[str, ...] = ()

    def distribution(self) -> Any:
        """The same for Optuna."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if (
            isinstance(self.low, int)
            and isinstance(self.high, int)
            and isinstance(self.step, int)
        ):
            return distributions.IntDistribution(
                self.low, self.high, self.log, self.step or 1
            )
        return distributions.FloatDistribution(
            self.low, self.high, self.log, self.step or None
        )

    def extremes(self) -> list[Any]:
        """Values that must be valid for all others to be."""
        return list(self.choices) or [self.low, self.high]


def split(words: Sequence[str]) -> tuple[list[Dimension], list[str]]:
    """What varies, and what is fixed. Raises UserError for what cannot be read."""
    varied, fixed = [], []
    for word in words:
        if word.startswith("conf="):
            fixed.append(word)
            continue
        override = overrides.parse([word])[0]
        if override.is_sweep_override():
            varied.append(_dimension(override))
        else:
            fixed.append(word)
    return varied, fixed


def from_recipe(section: Any) -> list[Dimension]:
    """The dimensions of the recipe's `search:`."""
    if not isinstance(section, Mapping):
        raise UserError(
            f"search: must hold keys and what they vary over, not {section!r}; {HINT}"
        )
    found = []
    for key, text in section.items():
        varied, _ = split([f"{key}={text}"])
        if not varied:
            raise UserError(f"search: {key}: {text} is one value; {HINT}")
        found += varied
    return found


def _dimension(override: Any) -> Dimension:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    value: Any = override.value()
    key = (
        f"{override.key_or_group}@{override.package}"
        if override.package
        else str(override.key_or_group)
    )
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        ends = [overrides.plain(key, end) for end in (value.start or 0, value.end or 0)]
        low, high = (_finite(key, end) for end in ends)
        dimension = Dimension(key, low, high, 0, log)
        if low >= high:
            raise UserError(
                f"{override.input_line!r}: the first number must be below the second"
            )
    else:
        texts = tuple(overrides.choices(override))
        dimension = Dimension(key, choices=texts)
        if isinstance(value, RangeSweep) and len(texts) > 1:
            low, second, high = (_number(texts[i]) for i in (0, 1, -1))
            dimension = Dimension(
                key, min(low, high), max(low, high), abs(second - low)
            )
    if log and (dimension.choices or dimension.low <= 0):
        raise UserError(
            f"{override.input_line!r}: a log scale needs an interval above 0"
        )
    return dimension


def _finite(key: str, end: Any) -> float:
    if isinstance(end, bool) or not isinstance(end, int | float):
        raise UserError(f"{key}: interval() takes two numbers, not {brief(end)}")
    return end


def _number(text: str) -> float:
    return float(text) if "." in text or "e" in text else int(text)


def point(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> dict[str, str]:
    """The overrides of a trial by key."""
    return {
        d.key: params[d.key] if d.choices else repr(params[d.key]) for d in dimensions
    }
