"""What LR-TT costs over its rank, beside Tiki-Taka whose second array is as large as the visible
one."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

ROWS, COLUMNS, BATCH = 256, 784, 64  # the hidden layer of LR-TT's MNIST study
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
STEPS = 40


def layer_of(spec: Any) -> Any:
    """The hidden layer on one tile."""
    from engine.nn import AnalogLinear

    return AnalogLinear(COLUMNS, ROWS, bias=False, tile=spec, seed=1)


def cells(layer: Any) -> int:
    """Cells beside those of the visible array."""
    from engine.tile.cells import CellArray

    arrays = [m for m in layer.modules() if isinstance(m, CellArray)]
    return sum(a.weight.numel() for a in arrays) - ROWS * COLUMNS


def seconds(layers: list[Any], rounds: int) -> list[float]:
    """Median time of a training step (forward, backward, update) of each layer; the layers take
    turns."""
    import torch

    from engine.optim import AnalogSGD

    draws = torch.Generator().manual_seed(1)
    # As with images: four inputs of five are zero; gradients as they are after the first epoch.
    x = torch.rand(STEPS, BATCH, COLUMNS, generator=draws) * (
        torch.rand(STEPS, BATCH, COLUMNS, generator=draws) < 0.2
    )
    d = 1e-4 * torch.randn(STEPS, BATCH, ROWS, generator=draws)
    optimizers = [AnalogSGD(layer.parameters(), lr=0.3) for layer in layers]
    times: list[list[float]] = [[] for _ in layers]
    for turn in range(rounds + 1):
        for layer, optimizer, taken in zip(layers, optimizers, times, strict=True):
            begin = time.perf_counter()
            for step in range(STEPS):
                optimizer.zero_grad()
                layer(x[step]).backward(d[step])
                optimizer.step()
            if turn:  # the first one warms up
                taken.append((time.perf_counter() - begin) / STEPS)
    return [statistics.median(taken) for taken in times]


def main(arguments: list[str] | None = None) -> int:
    """A line for each rank; with --out a figure."""
    from engine.presets import preset

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rank", description=__doc__
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="alternations of all layers"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FIGURE", help="draw both curves as well"
    )
    options = parser.parse_args(arguments)
    one_tile = {"max_input_size": 0, "max_output_size": 0}
    specs = [preset("lrtt_paper", rank=r, mapping=one_tile) for r in RANKS]
    # The same cells everywhere: the fast array of Tiki-Taka is made of those of LR-TT's factors.
    devices = {"fast": specs[0].algorithm.devices["in_factor"]}
    algorithm = dataclasses.replace(
        preset("tiki_taka_idealized").algorithm, devices=devices
    )
    layers = [
        layer_of(spec)
        for spec in (dataclasses.replace(specs[0], algorithm=algorithm), *specs)
    ]
    found = [
        (cells(layer), taken)
        for layer, taken in zip(layers, seconds(layers, options.rounds), strict=True)
    ]
    names = ["Tiki-Taka", *map(str, RANKS)]
    print(
        "| rank | further cells | of Tiki-Taka's | step | of Tiki-Taka's |\n|---|---|---|---|---|"
    )
    for name, (more, taken) in zip(names, found, strict=True):
        share, speed = more / found[0][0], taken / found[0][1]
        print(f"| {name} | {more} | {share:.3f} | {1e3 * taken:.2f} ms | {speed:.2f} |")
    if options.out:
        draw(found, options.out)
    return 0


def draw(found: list[tuple[int, float]], out: Path) -> None:
    """Cells and time over the rank, both as shares of Tiki-Taka's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    (full_cells, full_time), *curve = found
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot(
        RANKS, [more / full_cells for more, _ in curve], "o-", label="further cells"
    )
    axes.plot(
        RANKS, [taken / full_time for _, taken in curve], "s-", label="time of a step"
    )
    axes.axhline(1, color="grey", lw=0.8, ls="--")
    axes.set(
        xscale="log",
        xlabel="rank of LR-TT",
        ylabel="share of Tiki-Taka's",
        ylim=(0, None),
    )
    axes.set_xticks(RANKS, [str(r) for r in RANKS])
    axes.legend(frameon=False)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    raise SystemExit(main())
