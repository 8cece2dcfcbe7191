"""An array of cells under a pulsed update: every pulse of every sample in order, all cells of a
pulse at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.tile.settings import Update
from tests.naive.construct import Cells, construct
from tests.naive.draws import Source, Stream
from tests.naive.jumps import Waiting, can_jump, land
from tests.naive.maths import F32, Floats, clamp, log, power
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
        self.clock, self.drifts, self.since = 0.0, 0, np.zeros_like(self.w)
        self.w0, self.left = self.w, self.w
        self.waiting = Waiting(self.w.size)

    @property
    def weight(self) -> Floats:
        return self.seen.reshape(self.shape)

    def set_weights(self, weight: Floats, call: int) -> None:
        """Clipped to the bounds of the cells, read with write noise unless the device leaves it
        out."""
        self.w = clamp(weight.ravel(), self.cells["min_bound"], self.cells["max_bound"])
        noisy = self.params.get("apply_write_noise_on_set", False)
        self.seen = (
            self._written(Source(self.key, call, self.step)) if noisy else self.w
        )

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
        chosen = (behind < count) & (
            F32(prob) > source.uniform(Stream.RESET_CHOICE, self.numbers, 0)
        )
        fresh = self.cells["reset_bias"] + F32(
            self.params["reset_std"]
        ) * source.normal(Stream.RESET, self.numbers, 0)
        self._operated(np.where(chosen, fresh, self.w), call)

    def reset_where(self, chosen: np.ndarray, call: int) -> None:
        """The cells that `chosen` [rows, columns] marks; write noise is drawn for those alone."""
        source = Source(self.key, call, self.step)
        fresh = self.cells["reset_bias"] + F32(
            self.params["reset_std"]
        ) * source.normal(Stream.RESET, self.numbers, 0)
        fresh = clamp(fresh, self.cells["min_bound"], self.cells["max_bound"])
        self.w = np.where(chosen.ravel(), fresh, self.w)
        self.seen = np.where(chosen.ravel(), self._written(source), self.seen)

    def _operated(self, w: Floats, call: int) -> None:
        self.w = clamp(w, self.cells["min_bound"], self.cells["max_bound"])
        self.seen = self._written(Source(self.key, call, self.step))

    def drift(self, call: int, time: float) -> None:
        """Power-law drift of every weight from the moment at which something else than drift
        changed it."""
        p = {
            name: F32(value)
            for name, value in self.params.items()
            if name.startswith("drift_")
        }
        self.clock += time / self.params["drift_t_0"]
        now, source = F32(self.clock), Source(self.key, call, self.step)
        changed = (self.drifts == 0) | (
            np.abs(self.w - self.left) > p["drift_reset_tol"]
        )
        self.since = np.where(changed, now if self.drifts else F32(0), self.since)
        self.w0 = np.where(changed, self.w, self.w0)
        nu = self.cells["drift_nu"] * (
            F32(1) + p["drift_nu_std"] * source.normal(Stream.DRIFT, self.numbers, 0)
        )
        if p["drift_nu_k"]:
            g = (self.w - p["drift_w_offset"]) / p["drift_wg_ratio"] + p[
                "drift_g_offset"
            ]
            depends = p["drift_nu_k"] * (
                log(np.maximum(g, F32(1e-37))) - p["drift_log_g0"]
            )
            nu = np.where(g >= 0, nu - depends, nu)
        shrink = power(np.maximum(now - self.since, F32(1)), -nu)
        offset = p["drift_g_offset"] * p["drift_wg_ratio"] + p["drift_w_offset"]
        moved = self.w0 * shrink + offset * (shrink - F32(1))
        self._operated(
            moved
            + p["drift_w_noise_std"] * source.normal(Stream.DRIFT, self.numbers, 1),
            call,
        )
        self.left, self.drifts = self.w, self.drifts + 1

    def update(
        self, x: Floats, d: Floats, lr: float, settings: Update, call: int
    ) -> None:
        """x [samples, columns], d [samples, rows]."""
        if settings.pulse_type in ("None", "NoneWithDevice"):
            self._exact(x, d, lr, call, bounded=settings.pulse_type == "NoneWithDevice")
            return
        source = Source(self.key, call, self.step)
        done = np.zeros(self.w.size, np.uint32)
        for sample, (x_row, d_row) in enumerate(zip(x, d, strict=True)):
            plan = plan_sample(settings, lr, self.granularity, x_row, d_row)
            number = counts(settings, x_row, d_row, plan, sample, source).ravel()
            down = (np.signbit(d_row)[:, None] == np.signbit(x_row)[None, :]).ravel()
            done = self.apply(
                (number, down if lr < 0 else ~down), plan.length, done, source
            )
        self.finish(done, source)

    def _exact(
        self, x: Floats, d: Floats, lr: float, call: int, *, bounded: bool
    ) -> None:
        """The outer product of each sample in turn; a device clips after each, and adds its write
        noise at the end."""
        source = Source(self.key, call, self.step)
        for x_row, d_row in zip(x, d, strict=True):
            self.w = self.w - ((F32(lr) * d_row)[:, None] * x_row[None, :]).ravel()
            if bounded:
                self.w = clamp(self.w, self.cells["min_bound"], self.cells["max_bound"])
        self.step += bounded
        self.seen = self._written(source) if bounded else self.w

    def finish(self, done: np.ndarray, source: Source) -> None:
        """The end of an update call: write noise where there were pulses."""
        self.settle(self.numbers, done, source)
        self.step += 1
        self.seen = np.where(done > 0, self._written(source), self.seen)

    def apply(
        self,
        pulses: tuple[Ints, np.ndarray],
        length: int,
        done: np.ndarray,
        source: Source,
    ) -> np.ndarray:
        """Adds the pulses of a sample (number and direction of each cell), which wait for the end
        of their window.

        `length` is that of the sample's trains; `done` counts pulses in this call, which number
        their draws."""
        self.settle(self.waiting.full(length), done, source)
        self.waiting.add(*pulses, length)
        return done + pulses[0].astype(np.uint32)

    def settle(self, cells: np.ndarray, done: np.ndarray, source: Source) -> None:
        """Applies the waiting pulses of these cells: in a jump, or one by one."""
        samples = self.waiting.take(cells)
        if not samples:
            return
        total = np.sum([number for number, _ in samples], axis=0, dtype=np.uint32)
        first, own = (
            done[cells] - total,
            {name: v[cells] for name, v in self.cells.items()},
        )
        w = self.w[cells]
        jumped = np.zeros(len(w), bool)
        if can_jump(self.device, self.params):
            z = source.normal(Stream.PULSE, self.numbers[cells], first)
            w, jumped = land(w, own, self.params, samples, z)
        for number, up in samples:
            for n in range(int(np.where(jumped, 0, number).max(initial=0))):
                z = source.normal(
                    Stream.PULSE, self.numbers[cells], first + np.uint32(n)
                )
                moved = pulse(self.device, w, up, self.params, own, z)
                w = np.where(~jumped & (number > n), moved, w)
            first = first + number
        self.w = self.w.copy()
        self.w[cells] = w

    def _written(self, source: Source) -> Floats:
        if self.params.get("write_noise_std", 0) <= 0:
            return self.w
        sigma = F32(self.params["write_noise_std"]) * F32(self.params["dw_min"])
        return self.w + sigma * source.normal(Stream.WRITE, self.numbers, 0)
