"""Mean, standard deviation and quantiles of values that come in groups, with delete-one-group
standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Record = dict[str, Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Measurement:
    """What one case yields: the number of independent groups and a record for every measured
    quantity."""

    groups: int
    records: list[Record]


@dataclass(frozen=True)
class Sums:
    """Per group: number of values, sum and sum of squares of the values minus `centre`."""

    centre: float
    count: Array
    first: Array
    second: Array


def sums(groups: Sequence[npt.ArrayLike]) -> Sums:
    """Collects the sums; the common centre keeps the squares accurate."""
    arrays = [np.asarray(group, dtype=np.float64).ravel() for group in groups]
    total = sum(a.size for a in arrays)
    centre = float(sum(a.sum() for a in arrays) / total) if total else 0.0
    first = np.array([(a - centre).sum() for a in arrays])
    second = np.array([((a - centre) ** 2).sum() for a in arrays])
    return Sums(centre, np.array([float(a.size) for a in arrays]), first, second)


def _moments(count: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Mean and sample standard deviation from sums (arrays of the same shape)."""
    mean = first / np.maximum(count, 1)
    variance = (second - first * mean) / np.maximum(count - 1, 1)
    return mean, np.sqrt(np.maximum(variance, 0))


def _jackknife(estimates: Array) -> float:
    """Standard error from the estimates that leave out one group each."""
    groups = estimates.size
    return float(
        np.sqrt((groups - 1) / groups * ((estimates - estimates.mean()) ** 2).sum())
    )


def from_sums(collected: Sums, *, floor: bool) -> Record:
    """n, mean, std and their standard errors; with `floor` not below those of independent normal
    values."""
    s = collected
    total = np.array(s.count.sum()), np.array(s.first.sum()), np.array(s.second.sum())
    n = int(total[0])
    if n == 0:
        return {"n": 0}
    mean, std = (float(value) for value in _moments(*total))
    mean_se = std_se = 0.0
    if s.count.size > 1:
        rest_mean, rest_std = _moments(
            total[0] - s.count, total[1] - s.first, total[2] - s.second
        )
        mean_se, std_se = _jackknife(rest_mean), _jackknife(rest_std)
    if floor and n > 1:
        mean_se, std_se = (
            max(mean_se, std / n**0.5),
            max(std_se, std / (2 * (n - 1)) ** 0.5),
        )
    return {
        "n": n,
        "mean": round_figure(s.centre + mean),
        "mean_se": round_figure(mean_se),
        "std": round_figure(std),
        "std_se": round_figure(std_se),
    }


def figures(
    groups: Sequence[npt.ArrayLike], *, floor: bool, quantiles: bool = False
) -> Record:
    """The figures of one record. Non-finite values are left out and their share is told."""
    arrays = [np.asarray(group, dtype=np.float64).ravel() for group in groups]
    finite = [a[np.isfinite(a)] for a in arrays]
    record = from_sums(sums(finite), floor=floor)
    if quantiles and record["n"]:
        record["quantiles"] = _quantiles(finite)
    lost = sum(a.size for a in arrays) - record["n"]
    if lost:
        record["nan_fraction"] = round_figure(lost / sum(a.size for a in arrays))
    return record


def sample_at(place: float, sets: Sequence[Sequence[Record]]) -> list[Record]:
    """For every record, that of one of the independent sets in order of their spread: 0.5 takes the
    middle one."""
    ordered = (
        sorted(alike, key=lambda record: record.get("std", np.inf))
        for alike in zip(*sets, strict=True)
    )
    return [records[int(place * len(records))] for records in ordered]


def _quantiles(groups: Sequence[Array]) -> dict[str, list[float | None]]:
    pooled = np.quantile(np.concatenate(groups), QUANTILES)
    filled = [group for group in groups if group.size > 1]
    errors: list[float | None] = [None] * len(QUANTILES)
    if len(filled) > 1:
        each = np.array([np.quantile(group, QUANTILES) for group in filled])
        errors = [
            round_figure(e) for e in each.std(axis=0, ddof=1) / len(filled) ** 0.5
        ]
    return {
        str(q): [round_figure(v), e]
        for q, v, e in zip(QUANTILES, pooled, errors, strict=True)
    }


def round_figure(value: float) -> float:
    """Eight significant digits: more than any comparison needs."""
    return float(f"{value:.8g}")
