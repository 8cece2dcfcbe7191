"""What the arguments and the rounds of a transfer read of its state.

`Transfer` satisfies it. Declared here, below all three, so that none of them is written
against a class that imports it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from engine.tile.group import Cells
from engine.tile.settings import Update
from engine.tile.transfers.wiring import Wiring


class TransferState(Protocol):
    """Arrays that are read into each other, and how."""

    wiring: Wiring
    update: Update
    walks: bool
    # Weights of the last array where the tile shows a sum of arrays instead of them.
    last: Tensor | None

    @property
    def own(self) -> list[Cells]:
        """All arrays but the last, the fast one first."""

    @property
    def fast(self) -> Cells:
        """The array that the samples pulse."""
