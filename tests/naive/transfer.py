"""Coupled arrays, sample by sample and cell by cell as the formulas say: slow twin of
transfers/transfer.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.tile.settings import Update
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats, round_even
from tests.naive.pulses import counts, plan_sample

PLAIN, BUFFERED, AVERAGED, CHOPPED, DYNAMIC = range(5)
FLIP, FLIP_OUT, SELECT, RESET_SLICE, READ_NOISE, READ_ROUND = range(
    Stream.ALGORITHM, Stream.ALGORITHM + 6
)
ONE, ZERO = F32(1), F32(0)


@dataclass
class NaiveTransfer:
    """`v` are the numbers of TransferPlan; arrays[0] is the fast one, the last one keeps the
    weight."""

    v: dict[str, Any]
    arrays: list[Any]
    update: Update
    write: Update
    granularity: float
    decay: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, columns = self.arrays[0].shape
        self.slices, self.lines = (
            (columns, rows) if self.v["by_columns"] else (rows, columns)
        )
        links = len(self.arrays) - 1
        # One row for each slice, whatever a slice is.
        self.buffer = np.zeros((links, self.slices, self.lines), F32)
        self.mean, self.past = (
            np.zeros((self.slices, self.lines), F32) for _ in range(2)
        )
        self.in_chop, self.switched = (np.zeros(self.slices, bool) for _ in range(2))
        self.out_chop = np.zeros(self.lines, bool)
        self.samples, self.sweep, self.pointers = 0, 0, [0] * links
        self.maxima = [ZERO, ZERO]

    def cells(self, slice_: int) -> np.ndarray:
        """Numbers of the cells of a slice."""
        numbers = self.arrays[0].numbers.reshape(self.arrays[0].shape)
        return numbers[:, slice_] if self.v["by_columns"] else numbers[slice_]

    def learn(
        self, x: Floats, d: Floats, lr: float, *, call: int, slow_call: int
    ) -> None:
        """x [samples, columns], d [samples, rows]."""
        calls = [call] + [slow_call] * (len(self.arrays) - 1)
        self.sources = [
            Source(a.key, n, a.step) for a, n in zip(self.arrays, calls, strict=True)
        ]
        self.lr, self.events = F32(lr), 0
        self.done = np.zeros(self.arrays[0].w.size, np.uint32)
        self.seen_done = self.done.copy()
        self.flushes, self.read = (
            np.zeros(self.slices, int),
            np.zeros(self.slices, bool),
        )
        for b, (x_row, d_row) in enumerate(zip(x, d, strict=True)):
            self.rate = self._rate(x_row, d_row)
            self._pulse_fast(x_row, d_row, b)
            self.samples += 1
            for k in range(len(self.arrays) - 1):
                if (
                    self.v["period"][k] > 0
                    and self.samples % self.v["period"][k] == 0
                    and self.v["transfer_lr"][k] > 0
                ):
                    self._transfer(k, b)
        for s in range(self.slices):
            self._show_fast(s)
        for array in self.arrays:
            array.step += 1

    def _rate(self, x: Floats, d: Floats) -> np.float32:
        v, fast = self.v, F32(self.v["fast_lr"])
        if v["auto_scale"]:
            for i, top in enumerate((np.abs(x).max(), np.abs(d).max())):
                m, t = self.maxima[i], F32(self.decay)
                self.maxima[i] = (
                    m if top == 0 else ((ONE - t) * m + t * top if m > 0 else top)
                )
        if fast <= 0:
            return self.lr
        if v["auto_scale"]:
            m_x, m_d = (m if m > 0 else ONE for m in self.maxima)
            fast = F32(v["auto_gain"]) / (m_x * m_d)
        return fast * self.lr if v["scale_fast"] else fast

    def _pulse_fast(self, x: Floats, d: Floats, b: int) -> None:
        a, source = self.arrays[0], self.sources[0]
        plan = plan_sample(self.update, float(self.rate), self.granularity, x, d)
        number = counts(self.update, x, d, plan, b, source).ravel()
        by_column, by_row = (
            (self.in_chop, self.out_chop)
            if self.v["by_columns"]
            else (self.out_chop, self.in_chop)
        )
        turned = by_row[:, None] ^ by_column[None, :]
        up = ((np.signbit(d)[:, None] != np.signbit(x)[None, :]) ^ turned).ravel()
        self.done = a.apply((number, up), plan.length, self.done, source)

    def _show_fast(self, s: int) -> None:
        """The cells of a slice as they are read, with write noise where pulses came since the last
        time."""
        a, cells = self.arrays[0], self.cells(s)
        a.settle(cells, self.done, self.sources[0])
        fresh = cells[self.done[cells] != self.seen_done[cells]]
        self._show(0, fresh, s, self.flushes[s] + 1 if self.read[s] else 0)
        self.seen_done[cells] = self.done[cells]
        self.flushes[s] += 1
        assert a.seen.size == a.w.size

    def _normals(self, k: int, stream: int, s: int, n: int) -> Floats:
        """A normal for each line of a slice; four neighbouring lines share a block. Slice -1: the
        lines themselves."""
        groups, lines = -(-self.lines // 4), np.arange(self.lines)
        first = 0 if s < 0 else s * groups
        return self.sources[k].normal(stream, first + lines // 4, 4 * n + lines % 4)

    def _show(self, k: int, cells: np.ndarray, s: int, n: int) -> None:
        a = self.arrays[k]
        seen = a.seen.copy()
        seen[cells] = a.w[cells]
        if a.params.get("write_noise_std", 0) > 0:
            sigma = F32(a.params["write_noise_std"]) * F32(a.params["dw_min"])
            z = self._normals(k, Stream.WRITE, s, n)[np.isin(self.cells(s), cells)]
            if (
                n == 0
            ):  # a slice that is not read in this call: written as in a plain update
                z = self.sources[k].normal(Stream.WRITE, cells, 0)
            seen[cells] = a.w[cells] + sigma * z
        a.seen = seen

    def _transfer(self, k: int, b: int) -> None:
        last, start = self.sources[-1], self.pointers[k]
        if self.v.get("random_slice", 0):
            start = min(
                int(last.uniform(SELECT, k, b) * F32(self.slices)), self.slices - 1
            )
        for q in range(self.v["reads"]):
            s, e = (start + q) % self.slices, self.events
            self.events += 1
            self.read[s] = True
            if k == 0:
                self._show_fast(s)
            drive = self._drive(k, s, e)
            if np.any(drive != 0):
                self._write(k, s, e, drive)
            if k == 0 and self.v.get("reset_prob", 0) > last.uniform(RESET_SLICE, s, e):
                self._reset(s, e)
            if self.v["rule"] >= CHOPPED:
                self._flip(s, e)
            if k == 0 and s == self.slices - 1 and self.v["out_chop_prob"] > 0:
                self.out_chop = self.out_chop ^ (
                    F32(self.v["out_chop_prob"])
                    > last.uniform(FLIP_OUT, np.arange(self.lines), e)
                )
        if k == 0 and start + self.v["reads"] >= self.slices:
            self.sweep += 1
        self.pointers[k] = (start + self.v["reads"]) % self.slices

    def _read(self, k: int, s: int, e: int) -> Floats:
        v, last, lines = self.v, self.sources[-1], np.arange(self.lines)
        y = self.arrays[k].seen[self.cells(s)] * F32(v["read_in"])
        y = np.where(y < 0, y * (ONE - F32(v.get("out_asymmetry", 0))), y)
        if v.get("out_noise", 0) > 0:
            y = y + F32(v["out_noise"]) * self._normals(-1, READ_NOISE, -1, e)
        if v.get("out_step", 0) > 0:
            dither = (
                last.uniform(READ_ROUND, lines, e) - F32(0.5)
                if v.get("out_sto_round")
                else ZERO
            )
            y = F32(v["out_step"]) * round_even(y / F32(v["out_step"]) + dither)
        if v.get("out_bound", 0) > 0:
            y = np.clip(y, -F32(v["out_bound"]), F32(v["out_bound"]))
        return y * F32(v["out_scale"])

    def _drive(self, k: int, s: int, e: int) -> Floats:
        """What the next array gets as gradient on the lines of the slice."""
        v, y = self.v, self._read(k, s, e)
        rate = abs(
            F32(v["transfer_lr"][k]) * (self.lr if v["scale_transfer"] else ONE)
        ) * F32(v["ratio"][k])
        if v["rule"] == PLAIN:
            return -y
        if v["rule"] == AVERAGED:
            m, rate = (
                F32(v["momentum"]),
                F32(v["transfer_lr"][k]) * (self.lr if v["scale_transfer"] else ONE),
            )
            h = self.buffer[k, s] = m * self.buffer[k, s] + (ONE - m) * y
            return np.where(
                np.abs(h) > F32(v["threshold"]),
                -(rate * h / F32(v["slow_granularity"])),
                ZERO,
            )
        if v["rule"] == BUFFERED:
            self.buffer[k, s] = self.buffer[k, s] + rate * y
            return -self._take(k, s, F32(v["threshold"]))
        unit = F32(v["buffer_granularity"])
        if v["correct_magnitude"]:
            unit = (
                self.rate
                * unit
                * F32(v["slow_granularity"])
                / F32(v["fast_granularity"])
            )
        scale = rate / unit
        if v.get("correct_accumulation", 0):
            scale = scale / min(
                F32(self.sweep % v["sweeps"] + 1), ONE / F32(v["fast_granularity"])
            )
        scales = np.where(self.in_chop[s] ^ self.out_chop, -scale, scale)
        if v["rule"] == CHOPPED:
            self.buffer[k, s] = (
                scales * y if v.get("no_buffer") else self.buffer[k, s] + scales * y
            )
            return -self._take(k, s, ONE)
        if self.switched[s]:
            self.past[s] = self.mean[s]
        self.buffer[k, s] = self.buffer[k, s] + scales * (y - self.past[s])
        pulses = self._take(k, s, ONE)
        tail = F32(v["tail"])
        self.mean[s] = (ONE - tail) * self.mean[s] + tail * y
        return -pulses if self.sweep > v["sweeps"] else np.zeros_like(y)

    def _take(self, k: int, s: int, unit: np.float32) -> Floats:
        """Whole units out of the buffer."""
        v, h, most = self.v, self.buffer[k, s], F32(self.v["most"])
        pulses = np.clip(np.trunc(h / unit), -most, most)
        left = F32(v["momentum"]) * h
        if not v["forget"]:
            left = h - (ONE - F32(v["momentum"])) * pulses * unit
            cap = most * F32(v.get("buffer_cap", 0))
            left = (
                np.clip(left, -cap, cap) if cap > 0 and v["rule"] == DYNAMIC else left
            )
        self.buffer[k, s] = np.where(pulses != 0, left, h)
        return pulses

    def _write(self, k: int, s: int, e: int, drive: Floats) -> None:
        a, source, v = self.arrays[k + 1], self.sources[k + 1], self.v
        rate = F32(v["transfer_lr"][k]) * (self.lr if v["scale_transfer"] else ONE)
        rate = (
            rate if v["rule"] == PLAIN else F32(v["step"]) * F32(v["slow_granularity"])
        )
        line = np.zeros(self.slices, F32)
        line[s] = 1
        x, d = (line, drive) if v["by_columns"] else (drive, line)
        plan = plan_sample(self.write, float(rate), a.granularity, x, d)
        number = counts(self.write, x, d, plan, e, source, shared=False).ravel()
        up = (np.signbit(d)[:, None] != np.signbit(x)[None, :]).ravel()
        first = np.full(a.w.size, e * 4 * v["write_groups"], np.uint32)
        a.settle(a.numbers, a.apply((number, up), plan.length, first, source), source)
        self._show(k + 1, np.flatnonzero(number), s, e + 1)

    def _reset(self, s: int, e: int) -> None:
        a, cells = self.arrays[0], self.cells(s)
        w = a.cells["reset_bias"][cells] + F32(a.params["reset_std"]) * self._normals(
            0, Stream.RESET, s, e
        )
        a.w = a.w.copy()
        a.w[cells] = np.clip(
            w, a.cells["min_bound"][cells], a.cells["max_bound"][cells]
        )
        self._show(0, cells, s, 0x20000000 + e)

    def _flip(self, s: int, e: int) -> None:
        v, dynamic = self.v, self.v["rule"] == DYNAMIC
        due = (
            v["sweeps"] > 1
            and self.sweep % v["sweeps"] + 1 == v["sweeps"]
            and (dynamic or not v["chop_random"])
        )
        drawn = v["chop_random"] and F32(v["in_chop_prob"]) > self.sources[-1].uniform(
            FLIP, s, e
        )
        self.switched[s] = dynamic and bool(due or drawn)
        self.in_chop[s] ^= bool(due or drawn)
