"""Transfers along any number of arrays, each read into the next: Tiki-Taka and its buffered
form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.algorithms.parts.transfer import MOST_ARRAYS, Shared, like, shared_values
from engine.tile.settings import setting

if TYPE_CHECKING:
    from engine.tile.transfers.wiring import Wiring


def numbers(meaning: str) -> Any:
    """A setting that is a list of numbers, empty by default."""
    return setting([], meaning)


@dataclass
class Chain(Shared):
    """Settings of chains of arrays."""

    units_in_mbatch: bool = like(Shared, "units_in_mbatch", True)
    arrays: int = setting(
        2,
        "number of arrays; all but the fast one have the visible array's device",
        minimum=2,
        maximum=MOST_ARRAYS,
    )
    gamma_vec: list[float] = numbers(
        "share of each array in the weight; empty = gamma^(arrays - 1 - k)"
    )
    transfer_every_vec: list[float] = numbers(
        "periods of all arrays; empty = each a whole sweep of the one before"
    )
    transfer_lr_vec: list[float] = numbers(
        "transfer_lr of each array but the last; empty = transfer_lr"
    )
    n_reads_per_transfer: int = setting(
        1, "neighbouring slices that one transfer reads", "slices", minimum=1
    )
    random_selection: bool = setting(
        False, "transfers begin at a random slice, not where the last one ended"
    )


def chain_wiring(size: tuple[int, int], s: Any, rule: str, **more: Any) -> Wiring:
    """How arrays of `size` (rows, columns) are coupled. Raises ValueError for wrong lengths or no
    period."""
    from engine.tile.transfers.wiring import Wiring

    links = s.arrays - 1
    for name, wanted in (
        ("gamma_vec", s.arrays),
        ("transfer_every_vec", s.arrays),
        ("transfer_lr_vec", links),
    ):
        given = getattr(s, name)
        if given and len(given) not in (wanted, s.arrays):
            raise ValueError(
                f"algorithm.{name} must have {wanted} numbers for arrays={s.arrays}, not {len(given)}"
            )
    lines, slices = size if s.transfer_columns else size[::-1]
    reads = min(s.n_reads_per_transfer, slices)
    every = s.transfer_every_vec[:links] or [
        s.transfer_every * (lines / reads) ** k for k in range(links)
    ]
    wiring = Wiring(
        rule=rule,
        every=tuple(every),
        gamma=gammas(s),
        write=s.transfer_update,
        values=shared_values(s)
        | {
            "transfer_lr": s.transfer_lr_vec[:links] or [s.transfer_lr] * links,
            "reads": reads,
            "random_slice": int(s.random_selection),
        }
        | more,
        units_in_mbatch=s.units_in_mbatch,
        mean_granularity=s.fast_granularity == "mean",
    )
    check_period(wiring)
    return wiring


def gammas(s: Any) -> tuple[float, ...]:
    """The share of each array in the weight. Raises ValueError if the last one has none."""
    number = getattr(s, "arrays", 2)
    found = s.gamma_vec or [s.gamma ** (number - 1 - k) for k in range(number)]
    if len(found) != number:
        raise ValueError(
            f"algorithm.gamma_vec must have {number} numbers, not {len(found)}"
        )
    if found[-1] == 0:
        raise ValueError(
            "algorithm.gamma_vec must not end with 0: the last array is the one that keeps the weight"
        )
    return tuple(found)


def check_period(wiring: Wiring) -> None:
    """Raises ValueError if rounding leaves the first array without a period."""
    if wiring.period(0, 1) == 0:
        raise ValueError(
            f"algorithm.transfer_every={wiring.every[0]:g} is a period of 0 samples; it must be at least 0.5"
        )
