"""How arrays that are read into each other are coupled, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from engine.tile.settings import Update


@dataclass(frozen=True)
class Wiring:
    """How arrays are coupled: `values` are fields of TransferPlan, the others decide what depends
    on a batch."""

    rule: str
    every: tuple[float, ...]
    gamma: tuple[float, ...]
    write: Update
    values: dict[str, Any] = field(default_factory=dict)
    units_in_mbatch: bool = False
    auto_momentum: float = 1.0
    mean_granularity: bool = True

    @property
    def hidden(self) -> bool:
        """Whether the last array is not all that the tile shows."""
        return any(self.gamma[:-1]) or self.gamma[-1] != 1.0

    def period(self, k: int, batch: int, states: float = 1.0) -> int:
        """Samples between two reads of array k, 0 = never; `states` of a cell, by slice, are the
        unit below 0."""
        every = self.every[k]
        if every < 0:
            return max(1, math.floor(states * -every + 0.5))
        return (
            math.ceil(every * batch)
            if self.units_in_mbatch
            else math.floor(every + 0.5)
        )
