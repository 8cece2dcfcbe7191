"""Pictures of a judged figure as SVG text: results beside expected values, and the learning
curves."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.files import image, style
from engine.experiment.reproduce.judge import Judgement, PointResult
from engine.trust.files import read_text
from engine.trust.text import plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "aihw", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
MOST_LINES = 12
Series = Mapping[str, Sequence[PointResult]]


def results_svg(found: Judgement) -> str:
    """What was got, with its spread over the seeds, beside what the paper says."""
    if len(found.figure.axes) >= 2:
        return _svg((6.4, 3.4), lambda axes: _lines(axes, found))
    return _svg((6.4, 0.9 + 0.34 * len(found.points)), lambda axes: _bars(axes, found))


def curves_svg(found: Judgement) -> str:
    """Test error after each epoch, a line for each point; empty if the runs have no epochs."""
    curves = {
        p.point.name: _curve([run.folder for run in p.runs]) for p in found.points
    }
    known = [(name, curve) for name, curve in curves.items() if len(curve) > 1]
    shown = known[:MOST_LINES]
    if not shown:
        return ""

    from matplotlib.ticker import LogLocator, MaxNLocator

    def draw(axes: Axes) -> None:
        for number, (name, curve) in enumerate(shown):
            again = number >= 10  # matplotlib has ten colours
            axes.plot(
                range(1, len(curve) + 1),
                curve,
                label=plain_label(name),
                linewidth=1.2,
                linestyle="--" if again else "-",
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("test error, %")
        _legend(
            axes,
            f"{len(shown)} of {len(known)} points" if len(shown) < len(known) else "",
        )

    return _svg((6.4, 3.2), draw)


def _lines(axes: Axes, found: Judgement) -> None:
    """The last axis of the figure across, a line for each place on the others."""
    series = _series(found)
    places = list(
        dict.fromkeys(p.point.labels[-1] for points in series.values() for p in points)
    )
    for name, points in series.items():
        across = [places.index(p.point.labels[-1]) for p in points]
        spread = [0.0 if math.isnan(p.std) else p.std for p in points]
        line = axes.errorbar(
            across,
            [p.mean for p in points],
            spread,
            marker="o",
            capsize=3,
            label=plain_label(name),
        )
        known = [
            (x, p.expected)
            for x, p in zip(across, points, strict=True)
            if p.expected is not None
        ]
        if known:
            color = line.lines[0].get_color()
            axes.plot(
                *zip(*known, strict=True),
                marker="s",
                mfc="none",
                linestyle="none",
                color=color,
            )
    for p in found.points:
        if not p.point.labels and p.values:
            axes.axhline(
                p.mean,
                linestyle=":",
                color="gray",
                linewidth=1,
                label=plain_label(p.point.name),
            )
    axes.set_xticks(range(len(places)), [plain_label(place) for place in places])
    axes.set_xlabel(plain_label(found.figure.axes[-1]))
    axes.set_ylabel(plain_label(found.figure.axis))
    if any(p.expected is not None for p in found.points):
        axes.plot(
            [], [], "s", mfc="none", color="gray", label=plain_label(found.figure.known)
        )
    _legend(axes, plain_label(", ".join(found.figure.axes[:-1])))


def _legend(axes: Axes, title: str) -> None:
    """To the right of the picture."""
    axes.legend(
        title=title,
        frameon=False,
        fontsize=7,
        title_fontsize=7,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )


def _bars(axes: Axes, found: Judgement) -> None:
    """A row for each point."""
    for row, p in enumerate(found.points):
        spread = 0.0 if math.isnan(p.std) else p.std
        axes.errorbar(
            [p.mean],
            [row],
            xerr=[spread],
            marker="o",
            capsize=3,
            color="C0",
            label="here" if not row else "",
        )
        if p.expected is not None:
            words: dict[str, Any] = {
                "marker": "s",
                "mfc": "none",
                "color": "C1",
                "linestyle": "none",
                "capsize": 3,
            }
            axes.errorbar(
                [p.expected],
                [row],
                xerr=[p.tolerance],
                label="expected" if _first(found, p) else "",
                **words,
            )
    names = [plain_label(p.point.name) for p in found.points]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(plain_label(found.figure.axis))
    handles, labels = axes.get_legend_handles_labels()
    named = {"expected": f"{plain_label(found.figure.known)}, with tolerance"}
    axes.legend(
        handles,
        [named.get(x, x) for x in labels],
        frameon=False,
        fontsize=7,
        loc="best",
    )


def _first(found: Judgement, point: PointResult) -> bool:
    return point is next(p for p in found.points if p.expected is not None)


def _series(found: Judgement) -> Series:
    series: dict[str, list[PointResult]] = {}
    for p in found.points:
        if p.point.labels:
            series.setdefault(" ".join(p.point.labels[:-1]), []).append(p)
    return series


def _curve(folders: Sequence[Path]) -> list[float]:
    """Mean test error in per cent over the runs, as far as the shortest goes."""
    rows = []
    for folder in folders:
        try:
            lines = read_text(folder / "metrics.csv").splitlines()
            rows.append(
                [
                    100 * (1 - float(row["test_accuracy"]))
                    for row in csv.DictReader(lines)
                ]
            )
        except (OSError, KeyError, ValueError):
            continue
    return (
        [sum(values) / len(values) for values in zip(*rows, strict=False)]
        if rows
        else []
    )


def _svg(size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    from matplotlib.figure import Figure

    with style(STYLE):
        picture = Figure(figsize=size, layout="constrained")
        draw(picture.add_subplot())
        text = image(picture, "svg", metadata={"Date": None, "Creator": None}).decode()
    return re.sub(r"^.*?(?=<svg)", "", text, flags=re.S)
