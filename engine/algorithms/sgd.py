"""Plain pulsed SGD: the outer product of each sample goes straight to the visible array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile

ABOUT = "Every mini-batch changes the visible array by stochastic pulses, sample after sample."
FORMULA = "E[W] <- W - lr d^T x"
SOURCE = "Gokmen & Vlasov, Front. Neurosci. 10:333 (2016), doi:10.3389/fnins.2016.00333"
ARRAYS: dict[str, str] = {}
KERNELS: tuple[str, ...] = ()


@dataclass
class Settings:
    """Plain SGD has no settings of its own: the pulses are those of `tile.update`."""


def init(tile: Tile, spec: TileSpec) -> nn.Module:
    from torch import nn

    return nn.Module()


def update(tile: Tile, state: nn.Module, x: Tensor, d: Tensor, lr: float) -> None:
    tile.array.update(x, d, lr, tile.spec.update)


def end_of_batch(tile: Tile, state: nn.Module) -> None:
    tile.array.end_of_batch()


def replays(state: nn.Module) -> bool:
    """Every step pulses in the same way."""
    return True
