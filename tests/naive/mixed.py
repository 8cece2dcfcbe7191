"""Mixed precision, line by line: quantised samples, the digital matrix, whole pulses by rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.tile.settings import Update
from tests.naive.array import NaiveArray
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats, fma, round_even

SUMMED = 256
QUANTISE, PICK_ROW = Stream.ALGORITHM, Stream.ALGORITHM + 1


@dataclass
class NaiveMixed:
    """`array` is anything with key, step, granularity and update, `s` the settings of the
    algorithm."""

    array: NaiveArray
    s: Any
    pulses: Update

    def __post_init__(self) -> None:
        self.chi = np.zeros(self.array.shape, F32)
        self.row = self.updates = 0
        self.pulses = replace(
            self.pulses, update_bl_management=True, update_management=True
        )

    def learn(self, x: Floats, d: Floats, lr: float, first_call: int) -> int:
        """One mini-batch; returns the number of calls of the array that it took, `first_call` being
        the first."""
        call = first_call
        if self.s.n_x_bins:
            x, call = (
                self._quantised(x, self.s.n_x_bins, self.s.stoc_round_x, call),
                call + 1,
            )
        if self.s.n_d_bins:
            d, call = (
                self._quantised(d, self.s.n_d_bins, self.s.stoc_round_d, call),
                call + 1,
            )
        self.updates += 1
        done = self.updates - self.s.transfer_first
        due = done > 0 and done % self.s.transfer_every == 0
        unit, whole = (
            F32(self.s.granularity or self.array.granularity),
            np.zeros_like(self.chi),
        )
        split = 1 if self.s.transfer_first else len(x)
        self._add(x[:split], d[:split], F32(lr))
        if due:
            rows = self._rows(call)
            whole[rows] = np.trunc(self.chi[rows] / unit)
            self.chi[rows] = self.chi[rows] - whole[rows] * unit
        self._add(x[split:], d[split:], F32(lr))
        if not due:
            return call + 1 - first_call
        one_hot = np.eye(len(self.chi), dtype=F32)
        rate = (self.s.granularity or self.array.granularity) * self.s.transfer_lr
        self.array.update(whole, one_hot, rate, self.pulses, call + 1)
        return call + 2 - first_call

    def _add(self, x: Floats, d: Floats, lr: Floats) -> None:
        """Outer products of a part of the mini-batch: the first 256 samples one by one, then the
        sum of each further 256."""
        for begin in range(0, len(x), SUMMED):
            total = self.chi if begin == 0 else np.zeros_like(self.chi)
            for x_row, d_row in zip(
                x[begin : begin + SUMMED], d[begin : begin + SUMMED], strict=True
            ):
                total = fma((lr * d_row)[:, None], x_row[None, :], total)
            self.chi = total if begin == 0 else self.chi + total

    def _rows(self, call: int) -> np.ndarray:
        rows = len(self.chi)
        count = rows if self.s.n_rows_per_transfer < 0 else self.s.n_rows_per_transfer
        start, self.row = self.row, (self.row + count) % rows
        if self.s.random_row and count < rows:
            u = Source(self.array.key, call, self.array.step).uniform(
                PICK_ROW, np.uint32(0), 0
            )
            start = int(u * F32(rows))
        return (start + np.arange(count)) % rows

    def _quantised(self, v: Floats, bins: int, stochastic: bool, call: int) -> Floats:
        source, half = Source(self.array.key, call, self.array.step), F32(bins // 2)
        made = np.empty_like(v)
        for sample, line in enumerate(v):
            width = np.abs(line).max() / half
            width = width if width > 0 else F32(1)
            at = np.arange(len(line), dtype=np.uint32)
            dither = (
                source.uniform(QUANTISE, at, sample << 2) - F32(0.5)
                if stochastic
                else F32(0)
            )
            made[sample] = (
                np.clip(round_even(line / width + dither), -half, half) * width
            )
        return made
