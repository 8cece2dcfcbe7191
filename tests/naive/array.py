"""An array of cells under a pulsed update: every pulse of every sample in order, all cells of a pulse at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.tile.settings import Update
from tests.naive.construct import Cells, construct
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats, clamp
from tests.naive.pulses import Ints, counts, plan_sample
from tests.naive.steps import pulse


@dataclass
class NaiveArray:
    """Weights [rows, columns] of one device; `w` is the hidden weight, `seen` what is read."""

    device: str
    params: dict[str, Any]
    shape: tuple[int, int]
    key: tuple[int, int]
    granularity: float = 1.0

    def __post_init__(self) -> None:
        self.cells: Cells = construct(self.device, self.params, self.shape, self.key)
        self.w = np.zeros(self.shape[0] * self.shape[1], F32)
        self.seen = self.w
        self.numbers = np.arange(self.w.size, dtype=np.uint32)
        self.step = 0

    @property
    def weight(self) -> Floats:
        return self.seen.reshape(self.shape)

    def set_weights(self, weight: Floats, call: int) -> None:
        """Clipped to the bounds of the cells, read with write noise unless the device leaves it out."""
        self.w = clamp(weight.ravel(), self.cells["min_bound"], self.cells["max_bound"])
        noisy = self.params.get("apply_write_noise_on_set", False)
        self.seen = self._written(Source(self.key, call, self.step)) if noisy else self.w

    def decay(self, call: int, alpha: float = 1.0) -> None:
        rest = self.cells["reset_bias"]
        kept = F32(1) + F32(alpha) * (self.cells["decay_scale"] - F32(1))
        self._operated(rest + (self.w - rest) * kept, call)

    def diffuse(self, call: int) -> None:
        z = Source(self.key, call, self.step).normal(Stream.DIFFUSE, self.numbers, 0)
        self._operated(self.w + self.cells["diffusion_rate"] * z, call)

    def reset(self, call: int, start: int, count: int, prob: float) -> None:
        """Columns start .. start + count - 1, wrapping around."""
        source = Source(self.key, call, self.step)
        behind = (self.numbers.astype(int) % self.shape[1] - start) % self.shape[1]
        chosen = (behind < count) & (F32(prob) > source.uniform(Stream.RESET_CHOICE, self.numbers, 0))
        fresh = self.cells["reset_bias"] + F32(self.params["reset_std"]) * source.normal(Stream.RESET, self.numbers, 0)
        self._operated(np.where(chosen, fresh, self.w), call)

    def reset_where(self, chosen: np.ndarray, call: int) -> None:
        """The cells that `chosen` [rows, columns] marks; write noise is drawn for those alone."""
        source = Source(self.key, call, self.step)
        fresh = self.cells["reset_bias"] + F32(self.params["reset_std"]) * source.normal(Stream.RESET, self.numbers, 0)
        fresh = clamp(fresh, self.cells["min_bound"], self.cells["max_bound"])
        self.w = np.where(chosen.ravel(), fresh, self.w)
        self.seen = np.where(chosen.ravel(), self._written(source), self.seen)

    def _operated(self, w: Floats, call: int) -> None:
        self.w = clamp(w, self.cells["min_bound"], self.cells["max_bound"])
        self.seen = self._written(Source(self.key, call, self.step))

    def update(self, x: Floats, d: Floats, lr: float, settings: Update, call: int) -> None:
        """x [samples, columns], d [samples, rows]."""
        source = Source(self.key, call, self.step)
        done = np.zeros(self.w.size, np.uint32)
        for sample, (x_row, d_row) in enumerate(zip(x, d, strict=True)):
            plan = plan_sample(settings, lr, self.granularity, x_row, d_row)
            number = counts(settings, x_row, d_row, plan, sample, source).ravel()
            down = (np.signbit(d_row)[:, None] == np.signbit(x_row)[None, :]).ravel()
            done = self.apply(number, down if lr < 0 else ~down, done, source)
        self.finish(done, source)

    def finish(self, done: np.ndarray, source: Source) -> None:
        """The end of an update call: write noise where there were pulses."""
        self.step += 1
        self.seen = np.where(done > 0, self._written(source), self.seen)

    def apply(self, number: Ints, up: np.ndarray, done: np.ndarray, source: Source) -> np.ndarray:
        """Applies `number` pulses to each cell; `done` counts its pulses in this call, which number its draws."""
        for k in range(int(number.max(initial=0))):
            live = number > k
            z = source.normal(Stream.PULSE, self.numbers, done)
            self.w = np.where(live, pulse(self.device, self.w, up, self.params, self.cells, z), self.w)
            done = done + live.astype(np.uint32)
        return done

    def _written(self, source: Source) -> Floats:
        if self.params.get("write_noise_std", 0) <= 0:
            return self.w
        sigma = F32(self.params["write_noise_std"]) * F32(self.params["dw_min"])
        return self.w + sigma * source.normal(Stream.WRITE, self.numbers, 0)
