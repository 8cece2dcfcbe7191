"""Chopped TTv2: the signs of gradients on the fast array switch with choppers and are set right in
the buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.algorithms.parts.chopper import Chopped, chopper_wiring
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
from engine.tile.settings import setting

if TYPE_CHECKING:
    from torch import nn

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile
    from engine.tile.transfers.wiring import Wiring

ABOUT = "TTv2 with choppers: lines switch the sign of their gradients now and then, so that offsets average out."
FORMULA = (
    "A <- A - c fast_lr d^T x with signs c;  H[:, s] <- H[:, s] + c k A e_s;  n = trunc(H) pulses on C, "
    "H <- momentum H where n != 0"
)
SOURCE = "Rasch, Carta, Fagbohungbe & Gokmen, Nat. Commun. 15:7133 (2024), doi:10.1038/s41467-024-51221-z"
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "replays", "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Chopped):
    in_chop_random: bool = setting(
        True,
        "choppers of slices switch at random; otherwise after every 1 / in_chop_prob sweeps",
    )
    out_chop_prob: float = setting(
        0.0,
        "probability that the chopper of a crossing line switches after a sweep",
        minimum=0,
        maximum=1,
    )
    no_buffer: bool = setting(False, "the buffer forgets everything before each read")
    random_selection: bool = setting(
        False, "each read is of a random slice, not of the one after the last"
    )


def wiring(spec: TileSpec) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    more = {
        "out_chop_prob": s.out_chop_prob,
        "no_buffer": int(s.no_buffer),
        "random_slice": int(s.random_selection),
    }
    return chopper_wiring(s, "chopped", **more)


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec))
