"""Drawings as images that fit a paper, or as characters in a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihw_cli.records.chart import Line, chart, heat
from aihw_cli.records.plot import Curve, Drawing, in_order
from engine.experiment.files import image, style, writing
from engine.records.select import shown
from engine.settings import UserError
from engine.trust.text import plain_label, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
# Colours that stay apart for the colour-blind and in grey (Okabe & Ito).
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
MARKERS = "osD^v<>P"
# Text stays text in PDF and SVG, so that it can be searched and edited.
STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.linewidth": 0.6, "lines.linewidth": 1.2, "lines.markersize": 3.5, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "pdf.fonttype": 42, "svg.fonttype": "none",
    "svg.hashsalt": "aihw",
}  # fmt: skip
WIDTH = 3.5
RATIO = 0.72
SPAN = 30.0
# A legend inside the axes has a few short names; below them, letters to an inch, inches to a line.
INSIDE, SHORT, LETTERS, LINE = 5, 24, 15, 0.16


def is_log(values: Sequence[Any], wanted: str | None, axis: str) -> bool:
    """Whether an axis is logarithmic: as `--log` says, else for positive numbers over more than a
    decade and a half."""
    if wanted is not None:
        return axis in wanted
    numbers = [
        v for v in values if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    if axis == "y" or len(numbers) < max(3, len(values)) or min(numbers) <= 0:
        return False
    return max(numbers) / min(numbers) >= SPAN


def text(drawing: Drawing, log: str | None) -> str:
    """The drawing in characters."""
    if drawing.y:
        rows, columns = _axes_of(drawing)
        values = [
            [drawing.heat.get((row, column), math.nan) for column in columns]
            for row in rows
        ]
        names = [shown(row) for row in rows], [shown(column) for column in columns]
        head = (
            f"{drawing.metric} over {drawing.x} (to the right) and {drawing.y} (down)"
        )
        return "\n".join([head, *heat(values, names=names)])
    ticks = _ticks(drawing.curves)
    places = {
        shown(tick): float(k) if isinstance(tick, str | bool | list) else tick
        for k, tick in enumerate(ticks)
    }
    axes = "".join(
        a
        for a in "xy"
        if is_log(ticks if a == "x" else [], log, a) and (a == "y" or not _words(ticks))
    )
    lines = [
        Line(c.name, [places[shown(x)] for x in c.x], c.y, c.low, c.high)
        for c in drawing.curves
    ]
    below = (
        f"{drawing.x}: " + ", ".join(f"{k} = {shown(t)}" for k, t in enumerate(ticks))
        if _words(ticks)
        else drawing.x
    )
    return "\n".join(chart(lines, labels=(below, drawing.metric), log=axes))


def save(
    drawing: Drawing,
    path: Path,
    *,
    log: str | None,
    width: float = WIDTH,
    texts: Sequence[str] = (),
) -> None:
    """Write the drawing as an image; `texts` are the labels of the axes and a title, where
    given."""
    from matplotlib.figure import Figure

    with style(STYLE):
        figure = Figure(figsize=(width, width * RATIO), layout="constrained")
        axes = figure.subplots()
        if drawing.y:
            _heat(figure, axes, drawing)
        else:
            _curves(axes, drawing, log)
        given = dict(zip(("xlabel", "ylabel", "title"), texts, strict=False))
        usual = {
            "xlabel": words(drawing.x),
            "ylabel": words(drawing.y or drawing.metric),
        }
        # The user's own texts may hold formulas; all others are shown as they are.
        axes.set(
            **{
                **usual,
                **{key: visible(value) for key, value in given.items() if value},
            }
        )
        # Without the time of writing the same runs give the same file.
        stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(
            path.suffix
        )
        try:
            content = image(
                figure, path.suffix.removeprefix("."), dpi=300, metadata=stamp
            )
        except ValueError as error:
            shown = ", ".join(text for text in texts if "$" in text)
            raise UserError(
                f"no formula can be made of {shown!r}: {_first(error)}"
            ) from None
    with writing("the figure", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _first(error: Exception) -> str:
    """Matplotlib's reason, which stands in the last line of its drawing of the place."""
    return (str(error).strip().splitlines() or [""])[-1]


def words(key: str) -> str:
    """A key at an axis."""
    known = {
        "optimizer.lr": "learning rate",
        "lr": "learning rate",
        "dataset.batch_size": "batch size",
    }
    plain = key.rpartition(".")[2] if "." in key else key.replace("_", " ")
    return known.get(key, plain_label(plain))


def _curves(axes: Axes, drawing: Drawing, log: str | None) -> None:
    from matplotlib.ticker import MaxNLocator

    ticks = _ticks(drawing.curves)
    for number, curve in enumerate(drawing.curves):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        x = [ticks.index(value) for value in curve.x] if _words(ticks) else curve.x
        look: dict[str, Any] = {
            "color": colour,
            "label": plain_label(curve.name),
            "linestyle": style,
        }
        if drawing.swept:
            down = [
                max(0.0, y - low) for y, low in zip(curve.y, curve.low, strict=True)
            ]
            up = [
                max(0.0, high - y) for y, high in zip(curve.y, curve.high, strict=True)
            ]
            axes.errorbar(
                x,
                curve.y,
                yerr=[_known(down), _known(up)],
                marker=marker,
                capsize=2,
                **look,
            )
        else:
            axes.plot(x, curve.y, marker=marker if len(x) <= 15 else "", **look)
            axes.fill_between(
                x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0
            )
    if _words(ticks):
        names = [plain_label(shown(tick)) for tick in ticks]
        axes.set_xticks(range(len(ticks)), names, rotation=30, ha="right")
    elif is_log(ticks, log, "x"):
        axes.set_xscale("log")
    elif all(isinstance(tick, int) for tick in ticks):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if is_log([], log, "y"):
        axes.set_yscale("log")
    if any(curve.name for curve in drawing.curves):
        _legend(axes, drawing)


def _legend(axes: Axes, drawing: Drawing) -> None:
    """In the figure while it is small; else below it, in lines that fit its width."""
    names = [plain_label(curve.name) for curve in drawing.curves]
    if len(names) <= INSIDE and max(map(len, names)) <= SHORT:
        axes.legend()
        return
    figure: Any = axes.figure
    width, height = figure.get_size_inches()
    lines = [textwrap.fill(name, round(width * LETTERS)) for name in names]
    # The axes keep their size: the figure grows by what the legend takes.
    below = LINE * sum(name.count("\n") + 1 for name in lines)
    figure.set_size_inches(width, height + below)
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles, lines, loc="outside lower left")


def _known(values: Sequence[float]) -> list[float]:
    return [0.0 if math.isnan(value) else value for value in values]


def _heat(figure: Figure, axes: Axes, drawing: Drawing) -> None:
    rows, columns = _axes_of(drawing)
    values = [
        [drawing.heat.get((row, column), math.nan) for column in columns]
        for row in rows
    ]
    image = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis")
    axes.set_xticks(
        range(len(columns)),
        [plain_label(shown(c)) for c in columns],
        rotation=30,
        ha="right",
    )
    axes.set_yticks(range(len(rows)), [plain_label(shown(value)) for value in rows])
    known = [value for row in values for value in row if not math.isnan(value)]
    middle = (min(known) + max(known)) / 2
    if len(rows) * len(columns) <= 100:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                if not math.isnan(value):
                    colour = "white" if value < middle else "black"
                    axes.text(
                        j,
                        i,
                        f"{value:.3g}",
                        ha="center",
                        va="center",
                        fontsize=6,
                        color=colour,
                    )
    figure.colorbar(image, ax=axes, label=words(drawing.metric))


def _axes_of(drawing: Drawing) -> tuple[list[Any], list[Any]]:
    return in_order([y for y, _ in drawing.heat]), in_order(
        [x for _, x in drawing.heat]
    )


def _ticks(curves: Sequence[Curve]) -> list[Any]:
    return in_order([x for curve in curves for x in curve.x])


def _words(ticks: Sequence[Any]) -> bool:
    """Whether an axis has names instead of numbers."""
    return any(isinstance(tick, str | bool) for tick in ticks)
