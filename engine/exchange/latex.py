"""Results as a table of LaTeX: means with their confidence intervals, in the style of booktabs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
# Metrics that are fractions, and are shown in per cent.
PERCENT = "accuracy"


def table(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    comment: str,
    what: str = "95\\,\\% interval",
) -> str:
    """A tabular: the columns of `rows`, of which `mean`, `half` and `count` are joined to one; the
    comment says what it was made of."""
    keys = [key for key in rows[0] if key not in ("mean", "half", "count")]
    percent = PERCENT in metric
    unit = r" (\%)" if percent else ""
    head = [*map(escape, keys), f"{escape(metric)}{unit}", "$n$"]
    body = [
        [
            *(escape(cell(row[key])) for key in keys),
            interval(row, percent),
            str(row["count"]),
        ]
        for row in rows
    ]
    lines = [
        *(f"% {line}" for line in comment.splitlines()),
        f"% {metric}: mean $\\pm$ half of the {what} over $n$ runs; needs booktabs",
        rf"\begin{{tabular}}{{{'l' * len(keys)}rr}}",
        r"  \toprule",
        f"  {' & '.join(head)} \\\\",
        r"  \midrule",
        *(f"  {' & '.join(line)} \\\\" for line in body),
        r"  \bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def interval(row: Mapping[str, Any], percent: bool = False) -> str:
    """Mean and half interval, to two digits of the interval; the mean alone where there is none."""
    factor = 100.0 if percent else 1.0
    mean, half = factor * row["mean"], factor * row["half"]
    if math.isnan(mean):
        return "--"
    if math.isnan(half):
        return f"${mean:.4g}$"
    digits = 1 if half <= 0 else min(max(1 - math.floor(math.log10(half)), 0), 8)
    return rf"${mean:.{digits}f} \pm {half:.{digits}f}$"


def cell(value: Any) -> str:
    """A value as text: numbers as short as they can be."""
    if isinstance(value, bool) or value is None:
        return "--" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(ESCAPED.get(character, character) for character in text)
