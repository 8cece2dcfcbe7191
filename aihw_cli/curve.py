"""The response of a device in plain characters: a small curve, and the step sizes and symmetry
point in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.tile.response import Array, Response
    from engine.tile.settings import DeviceSpec

WIDTH, HEIGHT = 61, 11
MEAN, SPREAD = "*", "."
FEW = 0.5


def response_text(device: DeviceSpec) -> str:
    """The curve of a device, or of each kind of device in a cell of several, with its figures."""
    from engine.tile.response import measure

    if device.cells:
        parts = [
            f"device {name} of a cell:\n{response_text(spec)}"
            for name, spec in device.cells.items()
        ]
        return "\n\n".join(parts)
    found = measure(device)
    if found is None:
        return "response: any weight in one step; there are no pulses to draw"
    return "\n".join([_title(found), *_chart(found), *_figures(found)])


def figures(found: Response) -> dict[str, Any]:
    """The response in numbers, for a script."""
    import numpy as np

    mean, std = found.weights.mean(1), found.weights.std(1)
    return {
        "pulses": [found.each * k for k in range(len(mean))],
        "mean": _plain(mean), "std": _plain(std), "weight": _plain(found.grid),
        "up": _plain(np.nanmean(found.up, 1)), "up_std": _plain(np.nanstd(found.up, 1)),
        "down": _plain(np.nanmean(found.down, 1)), "down_std": _plain(np.nanstd(found.down, 1)),
        "symmetry": symmetry(found),
    }  # fmt: skip


def symmetry(found: Response) -> dict[str, float] | None:
    """Mean and spread of the symmetry point, and the share of cells that have one; None if most
    have none."""
    import numpy as np

    known = found.symmetry[~np.isnan(found.symmetry)]
    share = len(known) / len(found.symmetry)
    return (
        {"mean": float(known.mean()), "std": float(known.std()), "share": share}
        if share > FEW
        else None
    )


def steps_at(
    found: Response, weight: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and spread between cells of the up and of the down step at the weight of the grid
    nearest to `weight`."""
    import numpy as np

    at = int(np.argmin(np.abs(found.grid - weight)))
    up, down = found.up[at], found.down[at]
    return (float(np.nanmean(up)), float(np.nanstd(up))), (
        float(np.nanmean(down)),
        float(np.nanstd(down)),
    )


def _title(found: Response) -> str:
    half = (len(found.weights) - 1) // 2 * found.each
    cells = found.weights.shape[1]
    marks = f"({MEAN} mean, {SPREAD} spread between cells)"
    return f"response of {cells} cells to {half} up and {half} down pulses {marks}:"


def _chart(found: Response) -> list[str]:
    mean, std = found.weights.mean(1), found.weights.std(1)
    low, high = float((mean - std).min()), float((mean + std).max())
    span = high - low or 1.0
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for column in range(WIDTH):
        at = round(column * (len(mean) - 1) / (WIDTH - 1))
        ends = [
            _row(float(v), low, span) for v in (mean[at] + std[at], mean[at] - std[at])
        ]
        for row in range(ends[0], ends[1] + 1):
            rows[row][column] = SPREAD
        rows[_row(float(mean[at]), low, span)][column] = MEAN
    labels = {
        0: f"{high:8.3g}",
        HEIGHT - 1: f"{low:8.3g}",
        _row(0.0, low, span): f"{0:8d}" if low < 0 < high else "",
    }
    lines = [
        f"{labels.get(k, ''):>8} |{''.join(row).rstrip()}" for k, row in enumerate(rows)
    ]
    total = str(found.each * (len(mean) - 1))
    return [
        *lines,
        f"{'':>8} +{'-' * WIDTH}",
        f"{'weight':>8}  0{total + ' pulses':>{WIDTH - 1}}",
    ]


def _row(value: float, low: float, span: float) -> int:
    return min(HEIGHT - 1, max(0, round((1 - (value - low) / span) * (HEIGHT - 1))))


def _figures(found: Response) -> list[str]:
    middle = min(max(0.0, float(found.grid[0])), float(found.grid[-1]))
    parts = []
    for name, (mean, std) in zip(("up", "down"), steps_at(found, middle), strict=True):
        spread = (
            f" (spread between cells {100 * std / abs(mean):.0f} %)" if mean else ""
        )
        parts.append(f"{name} {mean:+.3g}{spread}")
    balanced = symmetry(found)
    point = "none: up and down steps are equal nowhere, or everywhere" if balanced is None else (
        f"weight {balanced['mean']:+.3f}, spread {balanced['std']:.3f}")  # fmt: skip
    return [
        f"step of one pulse at weight {middle:.3g}: {', '.join(parts)}",
        f"symmetry point: {point}",
    ]


def _plain(values: Array) -> list[float | None]:
    return [None if math.isnan(v) else float(v) for v in values]
