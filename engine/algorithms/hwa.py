"""Hardware-aware training: weights learn digitally, by their gradient, while every product meets
analog hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.algorithms.parts.transfer import settings_of
from engine.tile.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

    from engine.algorithms.parts.trained import Trained
    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile

ABOUT = (
    "The forward pass is that of the tile, with weights disturbed anew for every mini-batch (tile.modifier); gradients "
    "are exact and any optimizer applies them to the undisturbed weights, which are then clipped and remapped."
)
FORMULA = "y = tile(x; W + dW),  dL/dx = d (W + dW),  dL/dW = d^T x"
SOURCE = "Rasch et al., Nat. Commun. 14:5282 (2023), doi:10.1038/s41467-023-40770-4"
ARRAYS: dict[str, str] = {}
KERNELS = ("training",)


@dataclass
class Settings:
    """Settings of hardware-aware training; the disturbance of the weights is the tile's."""

    analog_backward: bool = setting(
        False, "gradients travel back through tile.backward instead of exactly"
    )


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    """Raises ValueError in one line for devices that would have to be pulsed."""
    from engine.devices.base import find_device

    settings_of(spec.algorithm, Settings)
    if spec.algorithm.devices:
        raise ValueError(
            f"hwa has no array {next(iter(spec.algorithm.devices))!r}; its weights are digital"
        )
    if spec.device.cells or not find_device(spec.device.model).ideal:
        raise ValueError(
            f"hwa trains digital weights without pulses: it needs device=ideal, not {spec.device.model}"
        )


def init(tile: Tile, spec: TileSpec) -> Trained:
    from torch import nn

    from engine.algorithms.parts.trained import Trained

    check_tile(spec, tile.array.out_size, tile.array.in_size)
    weight = tile.array.weight
    tile.array.weight = nn.Parameter(weight.data, requires_grad=weight.requires_grad)  # type: ignore[assignment]
    return Trained(
        tile,
        spec,
        analog_backward=settings_of(spec.algorithm, Settings).analog_backward,
    )


def product(
    tile: Tile, state: Trained, x: Tensor, scales: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    from engine.algorithms.parts.trained import product

    return product(tile, state, x, scales)


def settle(
    tile: Tile, state: Trained, scale: Tensor | None, out_scale: Tensor | None
) -> None:
    state.settle(tile, scale, out_scale)


def set_weights(tile: Tile, state: Trained, weight: Tensor) -> None:
    tile.array.set_weights(weight)
    state.mark(tile)


def end_of_batch(tile: Tile, state: Trained) -> None:
    tile.array.end_of_batch()


def replays(state: Trained) -> bool:
    """The first mini-batches set the input range."""
    found = state.input_range
    return found is None or found.batches >= found.settings.init_from_data
