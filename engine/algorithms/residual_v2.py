"""Residual learning v2: the main array gets a running mean of what is read, where that is more than
a step."""

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
    like,
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
    "Residual learning with a digital buffer H, the running mean of noisy reads of the residual array P; the main "
    "array W follows H where it exceeds the step of a cell."
)
FORMULA = (
    "P <- P - alpha d^T x, d at the mixed weight;  every transfer_every: H[:, s] <- m H[:, s] + (1 - m) (P e_s + "
    "noise), m = momentum;  W[:, s] <- W[:, s] + beta H[:, s] where |H| > thres_scale g;  weight = W + gamma P"
)
SOURCE = "Wu, Xiao, Gokmen, Fagbohungbe & Chen, NeurIPS 2025, doi:10.48550/arXiv.2502.06309, eq. 14-15"
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Residual):
    transfer_lr: float = like(Residual, "transfer_lr", 0.1)
    momentum: float = setting(
        0.9,
        "share of the buffer that a read leaves; the paper's 1 - beta",
        minimum=0,
        maximum=1,
    )
    thres_scale: float = setting(
        1.0,
        "what the buffer must exceed for a write",
        "steps of the main array",
        minimum=0,
    )


def wiring(spec: TileSpec, rows: int, columns: int) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    return residual_wiring(
        (rows, columns), s, "averaged", thres_scale=s.thres_scale, momentum=s.momentum
    )


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec, rows, columns)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec, tile.array.out_size, tile.array.in_size))
