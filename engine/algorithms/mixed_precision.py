"""Mixed precision: gradients are summed digitally, and only what makes whole pulses is written to
the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.algorithms.parts.transfer import settings_of
from engine.tile.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

    from engine.algorithms.parts.digital import Chi
    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile

ABOUT = "A digital matrix chi sums the gradients; row by row, its whole multiples of a step are taken off and pulsed."
FORMULA = (
    "chi <- chi + lr d^T x;  "
    "every transfer_every: n = trunc(chi / eps),  chi <- chi - n eps,  E[W] <- W - transfer_lr n eps"
)
SOURCE = (
    "Nandakumar et al., Front. Neurosci. 14:406 (2020), doi:10.3389/fnins.2020.00406"
)
ARRAYS: dict[str, str] = {}
KERNELS = ("digital",)


@dataclass
class Settings:
    """Settings of mixed precision."""

    transfer_every: int = setting(
        1, "period of the transfers", "mini-batches", minimum=1
    )
    n_rows_per_transfer: int = setting(
        -1, "rows of one transfer, taking turns; -1 = all", "rows", minimum=-1
    )
    random_row: bool = setting(False, "the rows of a transfer begin at a random one")
    granularity: float = setting(
        0.0, "unit of chi, eps; 0 = the mean step of the device", "weight", minimum=0
    )
    transfer_lr: float = setting(
        1.0, "factor of the pulses that are written", minimum=0
    )
    n_x_bins: int = setting(
        0, "steps of the inputs in chi; 0 = exact", "steps", minimum=0
    )
    n_d_bins: int = setting(
        0, "steps of the gradients in chi; 0 = exact", "steps", minimum=0
    )
    stoc_round_x: bool = setting(
        True, "inputs are rounded to their steps stochastically"
    )
    stoc_round_d: bool = setting(
        True, "gradients are rounded to their steps stochastically"
    )
    transfer_first: bool = setting(
        False,
        "transfers wait for the first sample of the next mini-batch, as in aihwkit",
    )


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    """Raises ValueError in one line for settings that have no effect."""
    from engine.devices.base import find_device

    s = settings_of(spec.algorithm, Settings)
    if spec.algorithm.devices:
        array = next(iter(spec.algorithm.devices))
        raise ValueError(
            f"mixed_precision has no array {array!r}; its only one has the tile's device"
        )
    if s.n_rows_per_transfer == 0 or s.n_rows_per_transfer > rows:
        allowed = f"-1 (all) or 1 to {rows}, the rows of the tile"
        raise ValueError(
            f"algorithm.n_rows_per_transfer must be {allowed}, not {s.n_rows_per_transfer}"
        )
    for name in ("n_x_bins", "n_d_bins"):
        if getattr(s, name) == 1:
            raise ValueError(f"algorithm.{name} must be 0 (exact) or at least 2, not 1")
    if (
        s.granularity == 0
        and not spec.device.cells
        and find_device(spec.device.model).ideal
    ):
        raise ValueError(
            f"algorithm.granularity must be > 0 with the device {spec.device.model}, which has no step"
        )


def init(tile: Tile, spec: TileSpec) -> Chi:
    from engine.algorithms.parts.digital import Chi

    check_tile(spec, tile.array.out_size, tile.array.in_size)
    return Chi(tile, settings_of(spec.algorithm, Settings))


def update(tile: Tile, state: Chi, x: Tensor, d: Tensor, lr: float) -> None:
    state.learn(tile, x, d, lr)


def end_of_batch(tile: Tile, state: Chi) -> None:
    tile.array.end_of_batch()


def set_weights(tile: Tile, state: Chi, weight: Tensor) -> None:
    state.clear()
    tile.array.set_weights(weight)


def replays(state: Chi) -> bool:
    """Transfers of some rows, or not in every mini-batch, are counted on the CPU."""
    return state.steady


def replayed(state: Chi) -> None:
    """An update that was replayed counts like any other."""
    state.updates += 1
