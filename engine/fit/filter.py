"""How likely readings are for a device: a hidden weight that pulses move, seen through read noise.

An extended Kalman filter whose step is the snippet of the device itself, run on a grid of weights.
Shapes: P parameter sets side by side, N pulses, G weights of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.tile.response import pulse_on
from engine.tile.settings import DeviceSpec

Floats = NDArray[np.float64]
# Between so many weights the step is a polygon; twice as many change no fit by its error.
POINTS = 81
LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Steps:
    """Mean and spread of a pulse over the weight: tables [2, G], first down and then up."""

    low: float
    high: float
    mean: Floats
    spread: Floats


@dataclass(frozen=True)
class Filtered:
    """What was not foreseen [P, N], and its variance [P, N]."""

    surprise: Floats
    variance: Floats

    def loss(self, chosen: NDArray[np.bool_]) -> Floats:
        """Negative logarithm of the likelihood of the chosen readings, for each set."""
        error, variance = self.surprise[:, chosen], self.variance[:, chosen]
        terms = LOG_2PI + np.log(variance) + error**2 / variance
        return 0.5 * np.asarray(terms.sum(1), np.float64)


def steps_of(model: str, params: Mapping[str, Any]) -> Steps:
    """The steps of the mean device, from its snippet. Raises CompileError."""
    device = DeviceSpec(model, dict(params))
    bounds = pulse_on(device, np.zeros(1, np.float32), 0.0)
    low, high = float(bounds["low"][0]), float(bounds["high"][0])
    grid = np.linspace(low, high, POINTS, dtype=np.float32)
    calm, plus, minus = (pulse_on(device, grid, normal) for normal in (0.0, 1.0, -1.0))
    names = ("down", "up")
    mean = np.array([calm[name] for name in names], np.float64)
    # Noise enters the snippets linearly; a bound cuts one of the two sides only.
    sides = [np.maximum(abs(plus[n] - calm[n]), abs(minus[n] - calm[n])) for n in names]
    return Steps(low, high, mean, np.array(sides, np.float64))


def run_filter(
    sets: Sequence[Steps],
    read_noise: Floats,
    trace: tuple[Floats, Floats],
    seen: NDArray[np.bool_],
) -> Filtered:
    """Follow the weight over a trace for several sets of parameters.

    `trace` holds N + 1 readings and N pulses between them (+1 up, -1 down). A reading that is not
    `seen` tells nothing: the weight is predicted through it."""
    readings, pulses = trace
    count, last = len(sets), POINTS - 1
    rows = np.arange(count)
    low = np.array([one.low for one in sets])
    high = np.array([one.high for one in sets])
    width = np.maximum(high - low, 1e-9) / last
    mean = np.stack([one.mean for one in sets])
    spread = np.stack([one.spread for one in sets])
    noise = read_noise**2
    weight = np.clip(np.full(count, readings[0]), low, high)
    doubt = noise.copy()
    surprise = np.zeros((count, len(pulses)))
    variance = np.ones((count, len(pulses)))
    for n, pulse in enumerate(pulses):
        table, scatter = mean[:, int(pulse > 0)], spread[:, int(pulse > 0)]
        # Sets whose step overflowed stay NaN in the likelihood, which refuses them.
        place = np.nan_to_num((weight - low) / width)
        left = np.clip(place.astype(np.int64), 0, last - 1)
        share = place - left
        step, rise = table[rows, left], table[rows, left + 1] - table[rows, left]
        before, after = scatter[rows, left], scatter[rows, left + 1]
        weight = np.clip(weight + step + share * rise, low, high)
        moved = before + share * (after - before)
        # The weight of the mean is not that of the cell: the slope carries the doubt along.
        doubt = (1.0 + rise / width) ** 2 * doubt + moved**2
        total = doubt + noise
        variance[:, n] = total
        surprise[:, n] = error = readings[n + 1] - weight
        if seen[n]:
            gain = doubt / total
            weight = np.clip(weight + gain * error, low, high)
            doubt = (1.0 - gain) * doubt
    return Filtered(surprise, variance)
