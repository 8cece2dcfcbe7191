"""Low-rank Tiki-Taka: two thin arrays learn a low-rank change of the visible one, into which it is
transferred."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.algorithms.parts.transfer import settings_of
from engine.tile.settings import IO, Update, read_settings, setting

if TYPE_CHECKING:
    from torch import Tensor

    from engine.algorithms.parts.lowrank import LowRank
    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile

ABOUT = "Two thin arrays, A [rank, inputs] and B [outputs, rank], learn projected gradients; C takes up B A."
FORMULA = (
    "x' = A x, d' = B^T d;  A <- A - lr_in lr d'^T x,  B <- B - lr_out lr d^T x';  "
    "every transfer_every: C <- C + transfer_lr B A;  y = (C + forward_gain B A) x"
)
SOURCE = (
    "Cho, Park, Won & Kim, LR-TT, public submission of 2026-08-27 (not peer reviewed)"
)
ARRAYS = {
    "in_factor": "A, from the inputs to the ranks; without a device of its own, as the visible one",
    "out_factor": "B, from the ranks to the outputs; without a device of its own, as the visible one",
}
KERNELS = ("digital",)


@dataclass
class Settings:
    """Settings of low-rank Tiki-Taka."""

    rank: int = setting(
        8, "rank of what A and B learn, at most the smaller side of the tile", minimum=1
    )
    transfer_every: int = setting(
        10, "period of the transfers", "mini-batches", minimum=1
    )
    transfer_lr: float = setting(
        0.0, "factor of a transfer, not times lr; 0 = 0.01 / rank", minimum=0
    )
    lr_in: float = setting(1.0, "learning rate of A; 0 = A stays", "of lr", minimum=0)
    lr_out: float = setting(1.0, "learning rate of B; 0 = B stays", "of lr", minimum=0)
    after_transfer: str = setting(
        "keep",
        "a transfer leaves A and B, A and B = 0, or a new A and B = 0",
        choices=("keep", "reset_out", "redraw"),
    )
    init_in: str = setting(
        "uniform",
        "how A starts; B starts at 0",
        choices=("uniform", "normal", "orthogonal"),
    )
    init_gain: float = setting(
        1.0,
        "factor of that start: range 1 / sqrt(inputs), spread sqrt(2 / inputs), or rows of length 1",
        above=0,
    )
    forward_gain: float = setting(
        0.0, "share of B A in the forward and backward products", minimum=0
    )
    transfer: str = setting(
        "ranks",
        "pulses by rank, exact product, or nothing",
        choices=("ranks", "exact", "none"),
    )
    transfer_read: str = setting(
        "onehot",
        "ranks are read by their periphery, or exactly",
        choices=("onehot", "exact"),
    )
    rank_chunk: int = setting(
        0,
        "ranks that are read and written at a time, which bounds the memory of a transfer; 0 = all",
        minimum=0,
    )
    update_aux: Update = field(default_factory=Update)
    update_core: Update = field(default_factory=Update)
    io_aux: Any = setting(
        None,
        "periphery of A and B both ways, keys as in tile.forward; null = that of the tile",
    )


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    """Refuses what does not fit the tile or each other. Raises ValueError in one line."""
    s = settings_of(spec.algorithm, Settings)
    if s.rank > min(rows, columns):
        largest = min(rows, columns)
        raise ValueError(
            f"algorithm.rank must be 1 to {largest} on a tile of {rows} x {columns}, not {s.rank}"
        )
    if s.rank_chunk > s.rank:
        raise ValueError(
            f"algorithm.rank_chunk must be 0 (all) to {s.rank}, the rank, not {s.rank_chunk}"
        )
    for array in spec.algorithm.devices:
        if array not in ARRAYS:
            raise ValueError(f"lrtt has no array {array!r}; it has {', '.join(ARRAYS)}")
    if s.io_aux is not None:
        read_settings(IO, s.io_aux, "algorithm.io_aux")
    if s.transfer == "exact" and spec.device.model == "one_sided":
        raise ValueError(
            "algorithm.transfer=exact makes no pulses, which device one_sided needs; take ranks"
        )


def init(tile: Tile, spec: TileSpec) -> LowRank:
    from engine.algorithms.parts.lowrank import LowRank

    check_tile(spec, tile.array.out_size, tile.array.in_size)
    s = settings_of(spec.algorithm, Settings)
    if s.forward_gain > 0 and s.after_transfer == "keep" and s.transfer != "none":
        text = "lrtt: forward_gain > 0 with after_transfer=keep counts B A in products and transfers it again and again"
        warnings.warn(text, stacklevel=2)
    return LowRank(
        tile, s, [spec.algorithm.devices.get(name, spec.device) for name in ARRAYS]
    )


def update(tile: Tile, state: LowRank, x: Tensor, d: Tensor, lr: float) -> None:
    state.learn(tile, x, d, lr)


def end_of_batch(tile: Tile, state: LowRank) -> None:
    for array in (tile.array, state.in_factor.array, state.out_factor.array):
        array.end_of_batch()


def forward(tile: Tile, state: LowRank, x: Tensor) -> Tensor:
    """y [.., B, O] of the visible array, and of the factors where they have a share."""
    y = tile.mvm(x)
    return (
        y
        if state.gain == 0
        else y + state.gain * state.out_factor.mvm(state.in_factor.mvm(x))
    )


def backward(tile: Tile, state: LowRank, d: Tensor) -> Tensor:
    """The same products the other way."""
    back = tile.mvm_t(d)
    return (
        back
        if state.gain == 0
        else back + state.gain * state.in_factor.mvm_t(state.out_factor.mvm_t(d))
    )


def set_weights(tile: Tile, state: LowRank, weight: Tensor) -> None:
    """The visible array takes the weights; the factors start anew."""
    tile.array.set_weights(weight)
    state.start()


def effective_weights(tile: Tile, state: LowRank) -> Tensor:
    """C + forward_gain B A, [.., O, I]: what the forward product means."""
    return tile.weight.data + state.gain * (
        state.out_factor.weight.data @ state.in_factor.weight.data
    )
