"""Cells of several devices: trains drawn once, each device walking through those of its samples."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.tile.settings import Update
from tests.naive.array import NaiveArray
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats
from tests.naive.pulses import Ints, counts, plan_sample


@dataclass
class NaiveGroup:
    """Devices in order with their factors; `policy` is one of engine.tile.settings.POLICIES, or
    `one_sided`."""

    devices: list[NaiveArray]
    factors: list[float]
    policy: str
    first: int = 0
    turn: int = field(default=0)

    @property
    def weight(self) -> Floats:
        """The sum of the devices, each with its factor, in order."""
        total = F32(self.factors[0]) * self.devices[0].weight
        for factor, device in zip(self.factors[1:], self.devices[1:], strict=True):
            total = total + F32(factor) * device.weight
        return total

    @property
    def granularity(self) -> float:
        return sum(d.granularity for d in self.devices) / len(self.devices)

    def set_weights(self, weight: Floats, calls: list[int]) -> None:
        for k, (device, call) in enumerate(zip(self.devices, calls, strict=True)):
            own = (
                np.maximum(weight if k == 0 else -weight, F32(0))
                if self.policy == "one_sided"
                else weight
            )
            if self.policy != "fixed" or k == self.first:
                device.set_weights(own, call)

    def update(
        self, x: Floats, d: Floats, lr: float, settings: Update, calls: list[int]
    ) -> None:
        """`calls`: that of the trains, which belongs to the first device, then that of each
        device's pulses."""
        lead = self.devices[0]
        trains = Source(lead.key, calls[0], lead.step)
        sources = [
            Source(v.key, call, v.step)
            for v, call in zip(self.devices, calls[1:], strict=True)
        ]
        done = [np.zeros(lead.w.size, np.uint32) for _ in self.devices]
        for sample, (x_row, d_row) in enumerate(zip(x, d, strict=True)):
            plan = plan_sample(settings, lr, self.granularity, x_row, d_row)
            number = counts(settings, x_row, d_row, plan, sample, trains).ravel()
            same = (np.signbit(d_row)[:, None] == np.signbit(x_row)[None, :]).ravel()
            up = same if lr < 0 else ~same
            for k in self._taking(sample, trains):
                for own, way in self._dealt(number, up, k, x_row):
                    done[k] = self.devices[k].apply(
                        (own, way), plan.length, done[k], sources[k]
                    )
        self.turn += len(x)
        for device, pulses, source in zip(self.devices, done, sources, strict=True):
            device.finish(pulses, source)

    def refresh(
        self, thresholds: tuple[float, float], settings: Update, calls: list[int]
    ) -> None:
        """Full pairs are reset and their difference is written; `calls`: reset and write of each
        device in turn."""
        up, down = self.devices
        upper, lower = (
            np.array([t * abs(v.params["w_max"]) for v in self.devices], F32)
            for t in thresholds
        )
        p, m = up.weight.copy(), down.weight.copy()
        full = np.where(
            p > m, (p > upper[0]) & (m > lower[1]), (p > lower[0]) & (m > upper[1])
        )
        writes = [
            np.where(full & (p > m), m - p, F32(0)),
            np.where(full & ~(p > m), p - m, F32(0)),
        ]
        for k, device in enumerate(self.devices):
            device.reset_where(full, calls[2 * k])
            device.update(
                np.eye(p.shape[1], dtype=F32),
                writes[k].T.copy(),
                1.0,
                settings,
                calls[2 * k + 1],
            )

    def _dealt(
        self, number: Ints, up: np.ndarray, k: int, x: Floats
    ) -> list[tuple[Ints, np.ndarray]]:
        """What device k takes of a sample; one-sided pairs take it twice, for positive and for
        negative inputs."""
        if self.policy != "one_sided":
            return [(number, up)]
        own = np.where(up if k == 0 else ~up, number, 0)
        negative = np.tile(np.signbit(x), len(own) // len(x))
        return [
            (np.where(negative == side, own, 0), np.ones_like(up))
            for side in (False, True)
        ]

    def _taking(self, sample: int, trains: Source) -> list[int]:
        n = len(self.devices)
        if self.policy == "fixed":
            return [self.first]
        if self.policy == "sequential":
            return [(self.first + 1 + self.turn + sample) % n]
        if self.policy == "random":
            return [
                int(trains.uniform(Stream.ALGORITHM, np.uint32(sample), 0) * F32(n))
            ]
        return list(range(n))
