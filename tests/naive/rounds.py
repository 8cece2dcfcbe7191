"""Transfers between cells of several devices, in rounds of reads: the slow twin of
engine/tile/transfers/rounds.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.naive.array import NaiveArray
from tests.naive.draws import Source
from tests.naive.group import NaiveGroup
from tests.naive.maths import F32, Floats
from tests.naive.pulses import Ints, counts, plan_sample
from tests.naive.transfer import (
    CHOPPED,
    FLIP_OUT,
    PLAIN,
    RESET_SLICE,
    SELECT,
    NaiveTransfer,
)


@dataclass
class NaiveCells:
    """One array, of one device or of several; calls are counted as the fast version does."""

    group: NaiveGroup
    calls: list[int]
    single: bool

    @property
    def lead(self) -> NaiveArray:
        return self.group.devices[0]

    @property
    def shape(self) -> tuple[int, int]:
        return self.lead.shape

    @property
    def numbers(self) -> np.ndarray:
        return self.lead.numbers

    @property
    def seen(self) -> Floats:
        return self.group.weight.ravel()

    @property
    def granularity(self) -> float:
        return self.group.granularity

    def next_call(self, k: int = 0) -> int:
        self.calls[k] += 1
        return self.calls[k]

    def write(self, x: Floats, d: Floats, lr: float, update: Any) -> None:
        """An ordinary update."""
        if self.single:
            self.lead.update(x, d, lr, update, self.next_call())
            return
        trains = self.next_call()
        self.group.update(
            x,
            d,
            lr,
            update,
            [trains, *(self.next_call(k) for k in range(len(self.calls)))],
        )


Read = tuple[int, int, int, int, int]  # sample, slice, array, number, sweep


class NaiveRounds(NaiveTransfer):
    """As NaiveTransfer, where `arrays` are NaiveCells."""

    def learn_all(self, x: Floats, d: Floats, lr: float) -> None:
        """x [samples, columns], d [samples, rows]."""
        fast, last = self.arrays[0], self.arrays[-1]
        self.lr, self.given_lr, self.x, self.d = F32(lr), lr, x, d
        self.sources = [Source(last.lead.key, last.next_call(), last.lead.step)]
        self.trains = Source(fast.lead.key, fast.next_call(), fast.lead.step)
        for array in self.arrays:
            array.lead.step += 1
        self.rates = [
            self._rate(x_row, d_row) for x_row, d_row in zip(x, d, strict=True)
        ]
        self.reads: list[Read] = []
        self.out_signs: list[np.ndarray] = []
        for b in range(len(x)):
            self.out_signs.append(self.out_chop)
            self._list(b)
        self.since = np.zeros(self.slices, int)
        for events in self._rounds():
            self._round(events)
        self._pulse(np.full(self.slices, len(x)), len(x))
        fast.group.turn += len(x)

    def _list(self, b: int) -> None:
        """All reads after sample b; the choppers of the lines switch with the schedule."""
        self.samples += 1
        for k in range(len(self.arrays) - 1):
            if not (
                self.v["period"][k] > 0
                and self.samples % self.v["period"][k] == 0
                and self.v["transfer_lr"][k] > 0
            ):
                continue
            start = self.pointers[k]
            if self.v.get("random_slice", 0):
                start = min(
                    int(self.sources[-1].uniform(SELECT, k, b) * F32(self.slices)),
                    self.slices - 1,
                )
            for q in range(self.v["reads"]):
                s, e = (start + q) % self.slices, len(self.reads)
                self.reads.append((b, s, k, e, self.sweep))
                if s == self.slices - 1:
                    drawn = self.sources[-1].uniform(FLIP_OUT, np.arange(self.lines), e)
                    self.out_chop = self.out_chop ^ (
                        F32(self.v["out_chop_prob"]) > drawn
                    )
            self.sweep += k == 0 and start + self.v["reads"] >= self.slices
            self.pointers[k] = (start + self.v["reads"]) % self.slices

    def _rounds(self) -> list[list[Read]]:
        """Reads up to the next one of the same slice."""
        found: list[list[Read]] = []
        for event in self.reads:
            if not found or event[1] in (s for _, s, *_ in found[-1]):
                found.append([])
            found[-1].append(event)
        return found

    def _round(self, events: list[Read]) -> None:
        until = self.since.copy()
        for b, s, k, *_ in events:
            if k == 0:
                until[s] = b + 1
        if any(k == 0 for _, _, k, *_ in events):
            self._pulse(until, max(b + 1 for b, _, k, *_ in events if k == 0))
        sweep, out_chop, chosen = (
            self.sweep,
            self.out_chop,
            np.zeros(self.arrays[0].lead.w.size, bool),
        )
        writes: list[list[tuple[int, Floats]]] = [[] for _ in self.arrays[1:]]
        for b, s, k, e, self.sweep in events:
            self.rate, self.out_chop = self.rates[b], self.out_signs[b]
            writes[k].append((s, self._drive(k, s, e)))
            if k == 0 and self.v.get("reset_prob", 0) > self.sources[-1].uniform(
                RESET_SLICE, s, e
            ):
                chosen[self.cells(s)] = True
            if self.v["rule"] >= CHOPPED:
                self._flip(s, e)
        self.sweep, self.out_chop = sweep, out_chop
        for k, rows in enumerate(writes):
            if rows:
                line, drive = (
                    np.eye(self.slices, dtype=F32)[[s for s, _ in rows]],
                    np.stack([y for _, y in rows]),
                )
                x, d = (line, drive) if self.v["by_columns"] else (drive, line)
                self.arrays[k + 1].write(x, d, self._write_rate(k), self.write)
        if self.v.get("reset_prob", 0) > 0:
            fast = self.arrays[0]
            for n, device in enumerate(fast.group.devices):
                device.reset_where(chosen, fast.next_call(n))

    def _write_rate(self, k: int) -> float:
        if self.v["rule"] != PLAIN:
            return float(self.v["step"] * self.arrays[k + 1].granularity)
        return float(
            self.v["transfer_lr"][k]
            * (self.given_lr if self.v["scale_transfer"] else 1.0)
        )

    def _pulse(self, until: np.ndarray, high: int) -> None:
        """Pulses of the fast array: on slice s, those of samples since[s] .. until[s] - 1."""
        fast, low = (
            self.arrays[0],
            int(self.since[until > self.since].min(initial=high)),
        )
        group: NaiveGroup = fast.group
        sources = [
            Source(v.key, fast.next_call(k), v.step)
            for k, v in enumerate(group.devices)
        ]
        done = [np.zeros(v.w.size, np.uint32) for v in group.devices]
        for b in range(low, high):
            length, number, up, x = self._sample(b, (self.since <= b) & (b < until))
            for k in group._taking(b, self.trains):
                for own, way in group._dealt(number, up, k, x):
                    done[k] = group.devices[k].apply(
                        (own, way), length, done[k], sources[k]
                    )
        for device, pulses, source in zip(group.devices, done, sources, strict=True):
            device.finish(pulses, source)
        self.since = until

    def _sample(self, b: int, due: np.ndarray) -> tuple[int, Ints, np.ndarray, Floats]:
        """Of a sample: length of its trains, number and direction of pulses on slices that are due,
        signs of inputs."""
        x, d = self.x[b], self.d[b]
        plan = plan_sample(self.update, float(self.rates[b]), self.granularity, x, d)
        number = counts(self.update, x, d, plan, b, self.trains)
        by_columns = self.v["by_columns"]
        due = due[None, :] if by_columns else due[:, None]
        x_turn, d_turn = (
            (self.in_chop, self.out_signs[b])
            if by_columns
            else (self.out_signs[b], self.in_chop)
        )
        x_down, d_down = np.signbit(x) ^ x_turn, np.signbit(d) ^ d_turn
        up = (d_down[:, None] != x_down[None, :]).ravel()
        return (
            plan.length,
            np.where(due, number, 0).ravel(),
            up,
            np.where(x_down, F32(-1), F32(1)),
        )
