"""Multi-tile residual learning: several coarse arrays make one fine weight, each slower than the
one below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.algorithms.parts.residual import Residual, residual_wiring
from engine.algorithms.parts.transfer import (
    ARRAYS,
    KERNELS,
    MOST_ARRAYS,
    build,
    checked_settings,
    end_of_batch,
    set_weights,
    update,
)
from engine.tile.settings import setting

if TYPE_CHECKING:
    from torch import nn

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile
    from engine.tile.transfers.wiring import Wiring

ABOUT = (
    "The weight is a geometric sum of arrays with few states; the finest follows the gradient, each other one gets "
    "what the next finer array has learned, column by column on a slower clock, and never the gradient."
)
FORMULA = (
    "W_N <- W_N - alpha d^T x, d at the composite weight;  every T_n: W_n-1[:, s] <- W_n-1[:, s] + beta_n W_n e_s;  "
    "weight = sum of gamma^n W_n, n = 0 .. N;  T_n = transfer_every every_factor^(N - n), "
    "beta_n = transfer_lr transfer_lr_factor^n"
)
SOURCE = "Li, Wu, Liu, Gokmen & Chen (2025), arXiv:2510.02516, doi:10.48550/arXiv.2510.02516, eq. 6-7, appendices H, K"
MOST_BATCHES = 10**6
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Residual):
    arrays: int = setting(
        4,
        "number of arrays, N + 1; all but the finest have the visible array's device",
        minimum=2,
        maximum=MOST_ARRAYS,
    )
    gamma: float = setting(
        0.5,
        "share of an array in the weight, relative to the next coarser one",
        above=0,
    )
    transfer_every: float = setting(
        2.0, "period of the reads of the finest array", "mini-batches", above=0
    )
    every_factor: float = setting(
        5.0, "how much less often each coarser array is read", minimum=1
    )
    transfer_lr: float = setting(
        0.1,
        "beta_0, of which the rates of the transfers are multiples; 0 = none",
        minimum=0,
    )
    transfer_lr_factor: float = setting(
        1.2, "how much larger the rate from each finer array is", above=0
    )


def wiring(spec: TileSpec, rows: int, columns: int) -> Wiring:
    """How the arrays of a tile are coupled, the finest first. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    number = s.arrays - 1
    every = [s.transfer_every * s.every_factor**k for k in range(number)]
    if every[-1] > MOST_BATCHES:
        raise ValueError(
            f"algorithm.every_factor={s.every_factor:g} makes a period of {every[-1]:.3g}; "
            f"transfer_every * every_factor^(arrays - 2) must be at most {MOST_BATCHES}"
        )
    return residual_wiring(
        (rows, columns),
        s,
        "plain",
        every=every,
        gamma=[s.gamma ** (number - k) for k in range(s.arrays)],
        transfer_lr=[
            s.transfer_lr * s.transfer_lr_factor ** (number - k) for k in range(number)
        ],
    )


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec, rows, columns)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec, tile.array.out_size, tile.array.in_size))
