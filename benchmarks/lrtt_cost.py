"""What LR-TT and Tiki-Taka ask of hardware for one token, in closed form: cells, operations,
energy, tiles, time.

Counted is the update of the arrays that learn, without the visible ones: d^T x on a second array of
full size, or the reads of x' = A x and d' = B^T d and both updates of LR-TT (Cho et al. 2026,
supplement; not peer reviewed)."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """Constants of the paper."""

    tile: int = 256  # lines of a tile in each direction
    energy: float = 0.078e-12  # J, of one operation
    read: float = 100e-9  # s, of one analog read
    pulse: float = 5e-9  # s, of one pulse
    pulses: int = 31  # length of the trains

    @property
    def update(self) -> float:
        """Time of one pulsed update, s."""
        return self.pulses * self.pulse


@dataclass(frozen=True)
class Cost:
    """Of `count` layers of one shape; `seconds` if they follow each other."""

    cells: int
    operations: int
    joules: float
    tiles: int
    seconds: float


def full(count: int, rows: int, columns: int, hardware: Hardware) -> Cost:
    """A second array of the size of each layer."""
    cells = count * rows * columns
    tiles = count * math.ceil(rows / hardware.tile) * math.ceil(columns / hardware.tile)
    return Cost(
        cells, 2 * cells, 2 * cells * hardware.energy, tiles, count * hardware.update
    )


def low_rank(
    count: int, rows: int, columns: int, rank: int, hardware: Hardware
) -> Cost:
    """Two factors for each layer, read and pulsed; those of equal length lie side by side on a
    tile."""
    cells = count * rank * (rows + columns)
    factors = {rows: count, columns: count} if rows != columns else {rows: 2 * count}
    packed = {
        length: math.ceil(number * rank / hardware.tile)
        for length, number in factors.items()
    }
    tiles = sum(
        packs * math.ceil(length / hardware.tile) for length, packs in packed.items()
    )
    return Cost(
        cells,
        4 * cells,
        4 * cells * hardware.energy,
        tiles,
        count * (hardware.read + hardware.update),
    )


def break_even(rows: int, columns: int) -> tuple[float, float]:
    """Ranks at which LR-TT has as many cells, and as many operations, as a second array of full
    size."""
    rank = rows * columns / (rows + columns)
    return rank, rank / 2


def main(arguments: list[str] | None = None) -> int:
    """Both costs of some layers, and the ranks at which they are equal."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lrtt_cost", description=__doc__
    )
    for name, value in (("layers", 48), ("rows", 768), ("columns", 768), ("rank", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args(arguments)
    if min(o.layers, o.rows, o.columns) < 1 or not 1 <= o.rank <= min(
        o.rows, o.columns
    ):
        parser.error(
            f"needs layers, rows and columns >= 1 and a rank of 1 to {max(min(o.rows, o.columns), 1)}"
        )
    hardware, size = Hardware(), (o.layers, o.rows, o.columns)
    found = {
        "Tiki-Taka": full(*size, hardware),
        f"LR-TT, rank {o.rank}": low_rank(*size, o.rank, hardware),
    }
    print(
        "| | cells | operations | energy, uJ | tiles | time, us |\n|---|---|---|---|---|---|"
    )
    for name, c in found.items():
        numbers = f"{c.cells} | {c.operations} | {1e6 * c.joules:.3g} | {c.tiles} | {1e6 * c.seconds:.4g}"
        print(f"| {name} | {numbers} |")
    cells, operations = break_even(o.rows, o.columns)
    print(
        f"\nas many cells at rank {cells:.1f}, as many operations at rank {operations:.1f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
