"""AGAD: chopped transfers whose reads count from a zero that is learned on the fly."""

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

ABOUT = "Chopped transfers without a fixed zero: a read counts from its running mean before its chopper switched."
FORMULA = (
    "H[:, s] <- H[:, s] + c k (A e_s - rho);  mu <- (1 - b) mu + b A e_s;  rho <- mu when c switched;  "
    "n = trunc(H) pulses on C"
)
SOURCE = "Rasch, Carta, Fagbohungbe & Gokmen, Nat. Commun. 15:7133 (2024), doi:10.1038/s41467-024-51221-z"
__all__ = [
    "ABOUT", "ARRAYS", "FORMULA", "KERNELS", "SOURCE", "Settings", "check_tile", "end_of_batch", "init",
    "replays", "set_weights", "update",
]  # fmt: skip


@dataclass
class Settings(Chopped):
    in_chop_prob: float = setting(
        0.1,
        "one over the number of sweeps between two switches of a chopper",
        above=0,
        maximum=1,
    )
    in_chop_random: bool = setting(
        False, "choppers switch with that probability at other reads as well"
    )
    tail_weightening: float = setting(
        5.0,
        "weight of late reads in the running mean: b = tail_weightening in_chop_prob, at most 1",
        above=0,
    )
    buffer_cap: float = setting(
        0.0,
        "largest buffer that is left after a write, without forget_buffer; 0 = no limit",
        "writes",
        minimum=0,
    )
    correct_accumulation: bool = setting(
        False,
        "late reads after a switch count less, as the fast array has had more time",
    )


def wiring(spec: TileSpec) -> Wiring:
    """How the arrays of a tile are coupled. Raises ValueError in one line."""
    s = checked_settings(spec, Settings)
    found = chopper_wiring(
        s,
        "dynamic",
        buffer_cap=s.buffer_cap,
        correct_accumulation=int(s.correct_accumulation),
    )
    found.values["tail"] = min(s.tail_weightening / found.values["sweeps"], 1.0)
    return found


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    wiring(spec)


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    return build(tile, spec, wiring(spec))
