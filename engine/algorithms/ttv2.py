"""TTv2: Tiki-Taka with a digital buffer between the arrays, which filters noise out of what is
read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.algorithms.parts.chain import Chain, chain_wiring
from engine.algorithms.parts.transfer import (
    ARRAYS,
    KERNELS,
    OnePulse,
    build,
    checked_settings,
    end_of_batch,
    replays,
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
    "What is read from the fast array A adds up in a digital buffer H; "
    "the visible C gets a pulse for each step of it."
)
FORMULA = (
    "H[:, s] <- H[:, s] + transfer_lr lr A e_s;  n = trunc(H / (thres_scale g)) pulses on C, "
    "H <- momentum H where n != 0"
)
SOURCE = "Gokmen, Front. Artif. Intell. 4:699148 (2021), doi:10.3389/frai.2021.699148"
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "replays", "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Chain):
    thres_scale: float = setting(
        1.0, "threshold of the buffer", "steps of the next array", above=0
    )
    step: float = setting(1.0, "size of a write", "steps of the next array", minimum=0)
    momentum: float = setting(
        0.1, "share of the buffer that a write leaves", minimum=0, maximum=1
    )
    forget_buffer: bool = setting(
        True,
        "a write leaves momentum times the buffer; otherwise only its pulses are taken off",
    )
    transfer_update: OnePulse = field(default_factory=OnePulse)


def wiring(spec: TileSpec, rows: int, columns: int) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    values = {
        "thres_scale": s.thres_scale,
        "step": s.step,
        "momentum": s.momentum,
        "forget": int(s.forget_buffer),
    }
    return chain_wiring((rows, columns), s, "buffered", **values)


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec, rows, columns)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec, tile.array.out_size, tile.array.in_size))
