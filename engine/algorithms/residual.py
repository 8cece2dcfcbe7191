"""Residual learning: a second array learns what the main one leaves, and is moved into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.algorithms.parts.residual import Residual, residual_wiring
from engine.algorithms.parts.transfer import (
    ARRAYS,
    KERNELS,
    build,
    checked_settings,
    end_of_batch,
    set_weights,
    update,
)

if TYPE_CHECKING:
    from torch import nn

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile
    from engine.tile.transfers.wiring import Wiring

ABOUT = (
    "The weight is W + gamma P; the residual array P follows its gradient, the main array W follows P, so that P comes "
    "to rest at 0, where its zero-shifted cells are symmetric."
)
FORMULA = (
    "P <- P - alpha d^T x, d at the mixed weight;  every transfer_every: W[:, s] <- W[:, s] + beta (P e_s + noise);  "
    "weight = W + gamma P"
)
SOURCE = "Wu, Xiao, Gokmen, Fagbohungbe & Chen, NeurIPS 2025, doi:10.48550/arXiv.2502.06309, eq. 9-11"
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Residual):
    """Those of the family."""


def wiring(spec: TileSpec, rows: int, columns: int) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    return residual_wiring((rows, columns), checked_settings(spec, Settings), "plain")


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec, rows, columns)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec, tile.array.out_size, tile.array.in_size))
