"""Tiki-Taka: a fast array collects gradients; what is read from it moves the visible array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.algorithms.parts.chain import Chain, chain_wiring
from engine.algorithms.parts.transfer import (
    ARRAYS,
    KERNELS,
    build,
    checked_settings,
    end_of_batch,
    replays,
    set_weights,
    update,
)
from engine.tile.settings import Update, setting

if TYPE_CHECKING:
    from torch import nn

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile
    from engine.tile.transfers.wiring import Wiring

ABOUT = (
    "Gradients go to a fast array A near its symmetry point; "
    "column by column A is read and written on the visible C."
)
FORMULA = (
    "A <- A - fast_lr d^T x;  every transfer_every: y = A e_s + noise,  C[:, s] <- C[:, s] + transfer_lr lr y;  "
    "W = C + gamma A"
)
SOURCE = (
    "Gokmen & Haensch, Front. Neurosci. 14:103 (2020), doi:10.3389/fnins.2020.00103"
)
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "replays", "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Chain):
    with_reset_prob: float = setting(
        0.0,
        "probability that a slice of the fast array is reset after its read",
        minimum=0,
        maximum=1,
    )
    transfer_update: Update = field(default_factory=Update)


def wiring(spec: TileSpec, rows: int, columns: int) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    return chain_wiring((rows, columns), s, "plain", reset_prob=s.with_reset_prob)


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec, rows, columns)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec, tile.array.out_size, tile.array.in_size))
