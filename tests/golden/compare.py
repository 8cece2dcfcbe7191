"""Compares measured records with reference records: a z value for every mean and standard
deviation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Case = dict[str, Any]
Record = dict[str, Any]
ABSOLUTE = 2e-6  # float32
LIMIT = 5.0
RMS_LIMIT = 1.6
TRAINING_RELATIVE, RELATIVE = 0.02, 0.005


@dataclass(frozen=True)
class Difference:
    """One figure of one record: how many standard errors lie between the two."""

    record: str
    figure: str
    z: float
    reference: Any
    mine: Any


@dataclass(frozen=True)
class Verdict:
    """All figures of one case; `problem` says why there is nothing to compare."""

    name: str
    differences: list[Difference] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def rms(self) -> float:
        finite = [d.z for d in self.differences if math.isfinite(d.z)]
        return math.sqrt(sum(z * z for z in finite) / max(len(finite), 1))

    @property
    def beyond(self) -> list[Difference]:
        """The differences beyond the limit, worst first."""
        return sorted((d for d in self.differences if d.z > LIMIT), key=lambda d: -d.z)

    @property
    def passed(self) -> bool:
        return not (self.problem or self.missing or self.beyond or self.rms > RMS_LIMIT)


def has_figures(case: Case) -> bool:
    """Whether the case holds measured figures (they may have been stripped)."""
    return any(has_values(record) for record in case.get("records") or ())


def has_values(record: Record) -> bool:
    """Whether a record has figures to compare with."""
    if record.get("exact") is not None:
        return True
    return record.get("mean") is not None and record.get("std") is not None


def relative_tolerance(case: Case) -> float:
    """The share of a figure that physical agreement allows: 2 % for training curves, 0.5 % else."""
    return (
        TRAINING_RELATIVE
        if case.get("category", case["name"]).startswith("E")
        else RELATIVE
    )


def compare_case(reference: Case, records: list[Record], relative: float) -> Verdict:
    """Compares all records of a case; one whose figures were stripped only has to be measured."""
    mine = {r["id"]: r for r in records}
    differences: list[Difference] = []
    missing = [r["id"] for r in reference["records"] if r["id"] not in mine]
    for record in reference["records"]:
        if record["id"] in mine and (record.get("n") == 0 or has_values(record)):
            differences += _differences(record, mine[record["id"]], relative)
    return Verdict(reference["name"], differences, missing)


def _differences(
    reference: Record, mine: Record, relative: float
) -> Iterator[Difference]:
    name = reference["id"]
    if reference.get("exact") is not None:
        yield Difference(
            name,
            "exact",
            0.0 if _equal(reference, mine) else math.inf,
            "array",
            "array",
        )
    elif not reference.get("n") or not mine.get("n"):
        z = 0.0 if bool(reference.get("n")) == bool(mine.get("n")) else math.inf
        yield Difference(name, "n", z, reference.get("n"), mine.get("n"))
    else:
        for figure in ("mean", "std"):
            z = z_value(reference, mine, figure, relative)
            yield Difference(name, figure, z, reference[figure], mine.get(figure))
        if mine["n"] < 0.5 * reference["n"]:
            yield Difference(name, "n", math.inf, reference["n"], mine["n"])


def _equal(reference: Record, mine: Record) -> bool:
    expected, got = list(_flat(reference["exact"])), list(_flat(mine.get("exact", [])))
    tolerance = 2 * reference.get("atol", ABSOLUTE)
    if len(expected) != len(got):
        return False
    return all(
        abs(a - b) <= max(tolerance, _last_digit(a))
        for a, b in zip(expected, got, strict=True)
    )


def _last_digit(value: float) -> float:
    """A little more than the last of the six digits that the reference files tell of a number."""
    return 1.01 * 10.0 ** (math.floor(math.log10(abs(value))) - 5) if value else 0.0


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def z_value(reference: Record, mine: Record, figure: str, relative: float) -> float:
    """Difference beyond the tolerances in units of the joint standard error."""
    a, b = reference[figure], mine.get(figure)
    if b is None or not math.isfinite(b):
        return math.inf
    error_a, error_b = (
        reference.get(figure + "_se") or 0.0,
        mine.get(figure + "_se") or 0.0,
    )
    # A sloppy measurement with a large standard error of its own must not pass.
    error_b = min(error_b, 2.5 * error_a + ABSOLUTE + 0.002 * abs(a))
    distance = max(0.0, abs(a - b) - ABSOLUTE - relative * abs(a))
    if distance == 0.0:
        return 0.0
    joint = math.hypot(error_a, error_b)
    return distance / joint if joint > 0 else math.inf
