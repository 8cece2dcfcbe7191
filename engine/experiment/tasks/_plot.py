"""Accuracy over time as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.files import image, style
from engine.trust.files import write_bytes
from engine.trust.text import plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that also readers with a colour vision deficiency tell apart.
COLORS = ("#0072b2", "#d55e00")
EARLIEST = 0.1


def plot_course(
    points: Sequence[Mapping[str, Any]], reference: tuple[str, float], path: Path
) -> None:
    """Mean and standard deviation over time with and without compensation, and a named accuracy to
    compare with."""
    with style():
        figure = _figure(points, reference)
        # Without its date the same result is the same file.
        content = image(figure, "png", dpi=150, metadata={"Software": None})
    write_bytes(path, content)


def _figure(
    points: Sequence[Mapping[str, Any]], reference: tuple[str, float]
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    ways = list(dict.fromkeys(point["compensation"] for point in points))
    for way, color in zip(ways, COLORS, strict=False):
        own = sorted(
            (p for p in points if p["compensation"] == way), key=lambda p: p["time"]
        )
        name = (
            "without compensation"
            if way == "none"
            else f"{way.replace('_', ' ')} compensation"
        )
        # A logarithmic axis has no place for 0 s: it stands at its left end.
        times, means, spreads = zip(
            *((max(p["time"], EARLIEST), p["mean"], p["std"]) for p in own), strict=True
        )
        axes.errorbar(
            times, means, spreads, color=color, marker="o", capsize=3, label=name
        )
    axes.axhline(
        reference[1], color="black", linestyle="--", linewidth=1, label=reference[0]
    )
    axes.set_xscale("log")
    marks = {max(point["time"], EARLIEST): point["after"] for point in points}
    axes.set_xticks(list(marks), [plain_label(text) for text in marks.values()])
    axes.minorticks_off()
    axes.set_xlabel("time after programming")
    axes.set_ylabel("test accuracy")
    axes.legend()
    return figure
