"""Low-rank Tiki-Taka step by step: reads of both factors, their updates, transfers rank by rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.tile.settings import IO
from tests.naive.array import NaiveArray
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats
from tests.naive.product import NaiveProduct


@dataclass
class NaiveLowRank:
    """`a` [ranks, columns], `b` [rows, ranks], `core` [rows, columns]; `s` are the settings of the
    algorithm."""

    a: NaiveArray
    b: NaiveArray
    core: NaiveArray
    s: Any
    io: IO
    calls: int = 0

    def learn(
        self, x: Floats, d: Floats, lr: float, numbers: tuple[int, int, int]
    ) -> None:
        """One mini-batch; `numbers` are the calls that each array has made so far."""
        a, b, c = numbers
        x_rank, d_rank = (
            self._read(self.a, x, a + 1),
            self._read(self.b, d, b + 1, forward=False),
        )
        self.a.update(x, d_rank, lr * self.s.lr_in, self.s.update_aux, a + 2)
        self.b.update(x_rank, d, lr * self.s.lr_out, self.s.update_aux, b + 2)
        self.calls += 1
        if self.calls % self.s.transfer_every:
            return
        ranks, a, b = np.eye(self.s.rank, dtype=F32), a + 2, b + 2
        chunk = self.s.rank_chunk or self.s.rank
        for turn, first in enumerate(range(0, self.s.rank, chunk), 1):
            one_hot = ranks[first : first + chunk]
            rows = self._read(self.a, one_hot, a + turn, forward=False)
            columns = self._read(self.b, one_hot, b + turn)
            self.core.update(
                rows, -columns, self.s.transfer_lr, self.s.update_core, c + turn
            )
        if self.s.after_transfer == "reset_out":
            self.b.set_weights(np.zeros(self.b.shape, F32), b + turn + 1)

    def _read(
        self, array: NaiveArray, v: Floats, call: int, *, forward: bool = True
    ) -> Floats:
        weight = array.weight if forward else array.weight.T
        product = NaiveProduct(self.io, weight, array.key, forward)
        stream, source = (
            Stream.FORWARD if forward else Stream.BACKWARD,
            Source(array.key, call, array.step),
        )
        return np.stack(
            [product.read(row, source, stream, sample) for sample, row in enumerate(v)]
        )
