"""Several results as one: mean, spread, and how well the mean is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Statistics of repeated results; nan where one does not exist. `ci95` is half of the
    confidence interval."""

    count: int
    mean: float
    std: float
    ci95: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean, sample standard deviation, and the 95 % interval of the mean by Student's t; nan is
    left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    mean, count = statistics.fmean(known), len(known)
    std = statistics.stdev(known) if count > 1 else math.nan
    half = _quantile(count - 1) * std / math.sqrt(count) if count > 1 else math.nan
    return Spread(count, mean, std, half, min(known), max(known))


def _quantile(degrees: int) -> float:
    """How many standard errors the interval reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))
