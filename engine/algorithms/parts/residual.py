"""Residual learning: arrays that share a weight, each learning what the slower ones leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.algorithms.parts.chain import Chain, check_period
from engine.algorithms.parts.transfer import Shared, like, shared_values
from engine.tile.settings import Update, setting

if TYPE_CHECKING:
    from engine.tile.transfers.wiring import Wiring


@dataclass
class Residual(Shared):
    """Settings of residual learning; rates do not follow the optimizer's, but that of the fast
    array does."""

    units_in_mbatch: bool = like(Shared, "units_in_mbatch", True)
    fast_lr: float = setting(
        0.0,
        "learning rate alpha of the fast array; 0 = that of the optimizer",
        minimum=0,
    )
    transfer_lr: float = setting(
        0.01, "learning rate beta of the transfers; 0 = no transfers", minimum=0
    )
    scale_transfer_lr: bool = like(Shared, "scale_transfer_lr", False)
    gamma: float = setting(0.4, "share of the residual array in the weight", above=0)
    n_reads_per_transfer: int = like(Chain, "n_reads_per_transfer", 1)
    transfer_update: Update = field(default_factory=Update)


def residual_wiring(size: tuple[int, int], s: Any, rule: str, **more: Any) -> Wiring:
    """How arrays of `size` (rows, columns) are coupled: two, unless `more` says otherwise.

    `more` holds `every`, `gamma` and `transfer_lr` of several arrays, and further fields of
    TransferPlan."""
    from engine.tile.transfers.wiring import Wiring

    every, gamma = (
        more.pop("every", (s.transfer_every,)),
        more.pop("gamma", (s.gamma, 1.0)),
    )
    slices = size[1] if s.transfer_columns else size[0]
    wiring = Wiring(
        rule=rule,
        every=tuple(every),
        gamma=tuple(gamma),
        write=s.transfer_update,
        values=shared_values(s) | {"reads": min(s.n_reads_per_transfer, slices)} | more,
        units_in_mbatch=s.units_in_mbatch,
        mean_granularity=s.fast_granularity == "mean",
    )
    check_period(wiring)
    return wiring
