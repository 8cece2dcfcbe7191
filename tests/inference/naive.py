"""Conductances as engine/kernels/inference and the noise models have them, one operation after
another.

Shapes: M matrices, N cells; everything of one device of a cell is [M, N].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.inference.settings import InferenceSpec
from tests.naive.draws import Source
from tests.naive.maths import F32, Floats, clamp, exp, fma, log

PROGRAMMING, DRIFTING = 112, 113
Values = dict[str, Any]
Normal = Callable[[], Floats]


def polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    """c0 + c1 x + ... by Horner's rule with fused operations."""
    value = np.zeros_like(x)
    for c in reversed(coefficients):
        value = fma(value, x, F32(c))
    return value


def polygon(nodes: Sequence[float], values: Sequence[float], at: Floats) -> Floats:
    """Straight lines between nodes, constant beyond them."""
    result = np.full_like(at, F32(values[0]))
    for k in range(len(nodes) - 1):
        a, b, low, high = (
            F32(v) for v in (nodes[k], nodes[k + 1], values[k], values[k + 1])
        )
        line = fma(np.minimum((at - a) / (b - a), F32(1)), high - low, low)
        result = np.where(at > a, line, result)
    return result


def top(v: Floats, low: float) -> Floats:
    return np.where(v > F32(low), v, F32(low)).astype(F32)


@dataclass
class Naive:
    """One tile's cells, programmed and read; `keys` has a key for each matrix."""

    spec: InferenceSpec
    keys: list[tuple[int, int]]
    g: list[Floats] = field(default_factory=list)
    kept: list[Values] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.spec.converter
        self.single, self.tables = c.kind == "single_device", c.kind == "custom_pair"
        self.factors = [F32(f) for f in c.significance or [1.0]]
        self.devices = 1 if self.single else 2 * len(self.factors)
        self.g_max, self.g_min = F32(c.g_max), F32(c.g_min)
        reach, start = c.g_max - c.g_min, 0.0
        self.start = []
        for factor in c.significance or [1.0]:
            self.start.append(F32(start))
            start += factor * reach
        span = (
            max(map(abs, c.table_weights()))
            if self.tables
            else reach
            if self.single
            else start
        )
        self.span = F32(span)
        self.noise_g_max = F32(self.spec.noise_g_max or c.g_max)
        self.p = self.spec.noise

    def program(self, w: Floats) -> Floats:
        """Weights after programming targets [M, N]."""
        self.size = w.shape[1]
        self._measure(w)
        made, verify = (
            MODELS[self.spec.noise_model][0],
            self.spec.programming == "write_verify",
        )
        rounds, band = (
            (self.spec.verify_rounds, self.spec.verify_band) if verify else (1, 3e38)
        )
        total = np.zeros_like(w)
        for k in range(self.devices):
            target = self.conductance(w, k)
            best, missed = np.zeros_like(w), np.ones(w.shape, bool)
            kept: Values = {}
            for round_ in range(rounds):
                draws = self._normals(PROGRAMMING, 0, round_ * self.devices + k, made)
                g, c = made(target, self, draws)
                best = np.where(missed, g, best)
                kept = {
                    name: np.where(missed, v, kept.get(name, v))
                    for name, v in c.items()
                }
                missed = np.abs(best - target) > F32(band)
            self.g.append(best)
            self.kept.append(kept)
            total = total + self._share(best, k)
        out = self._weights(total)
        if self.spec.reconvert:
            self.w = out
            self._measure(out)
        return out

    def drift(self, time: float, call: int) -> Floats:
        """Weights read at a time, in the call of this number."""
        read, total = MODELS[self.spec.noise_model][1], np.zeros_like(self.g[0])
        for k in range(self.devices):
            g = self.conductance(self.w, k) if self.spec.reconvert else self.g[k]
            draws = self._normals(DRIFTING, call, k, read)
            total = total + self._share(
                read(g, self.kept[k], self, draws, np.full((1, 1), time, F32)), k
            )
        return self._weights(total)

    def conductance(self, w: Floats, k: int) -> Floats:
        """Target of device k."""
        if self.single:
            return fma(w - self.low, self.gain, self.g_min)
        if not self.tables:
            load = top((-w if k & 1 else w) * self.gain, 0)
            return clamp(
                (load - self.start[k >> 1]) / self.factors[k >> 1] + self.g_min,
                self.g_min,
                self.g_max,
            )
        table = np.asarray(self.spec.converter.tables[k], F32)
        share = clamp(
            (w * self.gain + self.span) / (F32(2) * self.span), F32(0), F32(1)
        )
        place = share * F32(len(table) - 1)
        left = np.minimum(np.floor(place), F32(len(table) - 2))
        node = left.astype(int)
        return fma(place - left, table[node + 1] - table[node], table[node])

    def _measure(self, w: Floats) -> None:
        self.low, high = w.min(1, keepdims=True), w.max(1, keepdims=True)
        reach = high - self.low if self.single else np.maximum(-self.low, high)
        self.gain = self.span / top(reach, 1e-7)

    def _share(self, g: Floats, k: int) -> Floats:
        if self.single:
            return g - self.g_min
        return -self.factors[k >> 1] * g if k & 1 else self.factors[k >> 1] * g

    def _weights(self, total: Floats) -> Floats:
        return total / self.gain + (self.low if self.single else F32(0))

    def _normals(self, stream: int, call: int, block: int, model: Any) -> Normal:
        """Successive draws of a device; the blocks of a device hold as many as its snippet uses."""
        blocks, numbers = max(1, (COUNTS[model] + 3) // 4), iter(range(100))

        def draw() -> Floats:
            n = next(numbers)
            rows = [
                Source(key, call).normal(
                    stream, np.arange(self.size), 4 * block * blocks + n
                )
                for key in self.keys
            ]
            return np.stack(rows)

        return draw


def _sigma(g: Floats, n: Naive) -> Floats:
    scale = n.noise_g_max / F32(n.p["prog_coeff_g_max"])
    return polynomial(n.p["prog_coeff"], g / n.noise_g_max) * scale


def _missed(g: Floats, n: Naive, sigma: Floats, z: Floats) -> Floats:
    return top(g + F32(n.p["prog_noise_scale"]) * sigma * z, 0)


def _spread(n: Naive, mean: Floats, std: Floats, z: Floats) -> Floats:
    return F32(n.p["drift_scale"]) * np.abs(mean + std * z)


def _line(n: Naive, name: str, level: Floats) -> Floats:
    slope, offset, low, high = (
        F32(n.p[f"{name}_{part}"]) for part in ("slope", "offset", "min", "max")
    )
    return clamp(fma(slope, level, offset), low, high)


def pcm_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    level = log(top(g / n.noise_g_max, 1e-7))
    nu = _spread(n, _line(n, "nu_mean", level), _line(n, "nu_std", level), noise())
    return _missed(g, n, _sigma(g, n), noise()), {"nu": nu}


def custom_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    mean, std = (
        polygon(n.p["nu_g"], n.p["nu_mean"], g),
        polygon(n.p["nu_g"], n.p["nu_std"], g),
    )
    nu = _spread(n, mean, std, noise())
    return _missed(g, n, _sigma(g, n), noise()), {"nu": nu}


def _root(n: Naive, age: Floats) -> Floats:
    t_read = F32(n.p["t_read"])
    return np.sqrt(top(log((age + t_read) / (F32(2) * t_read)), 0))


def _aged(g: Floats, c: Values, n: Naive, t: Floats) -> tuple[Floats, Floats]:
    t_0 = F32(n.p["t_0"])
    age = t + t_0
    return g * exp(-c["nu"] * log(age / t_0)), _root(n, age)


def _power_law(
    g: Floats, c: Values, n: Naive, t: Floats, relative: Floats, z: Floats
) -> Floats:
    drifted, root = _aged(g, c, n, t)
    return top(
        drifted + F32(n.p["read_noise_scale"]) * drifted * relative * root * z, 0
    )


def pcm_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    falls = top(
        exp(F32(n.p["read_exponent"]) * log(top(g / n.noise_g_max, 1e-30))), 1e-3
    )
    relative = np.minimum(F32(n.p["read_factor"]) / falls, F32(n.p["read_max"]))
    return _power_law(g, c, n, t, relative, noise())


def flat_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    mean, std = F32(n.p["nu_mean"]), F32(n.p["nu_std"])
    nu = _spread(n, mean, std, noise())
    return _missed(g, n, polynomial(n.p["prog_coeff"], g / n.noise_g_max), noise()), {
        "nu": nu
    }


def flat_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    drifted, root = _aged(g, c, n, t)
    return top(
        drifted
        + F32(n.p["read_noise_scale"]) * (drifted / n.noise_g_max) * root * noise(),
        0,
    )


def cmo_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    return g + F32(n.p["prog_noise_scale"]) * polynomial(
        n.p["prog_coeff"], g
    ) * noise(), {}


def cmo_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    p, level = (
        {k: F32(v) for k, v in n.p.items() if not isinstance(v, list)},
        log(top(t, 1e-30)),
    )
    spread = top(fma(p["decay_std_slope"], level, p["decay_std_offset"]), 0)
    drifted = g + p["drift_scale"] * (p["decay_mean"] * level + spread * noise())
    sigma = p["read_factor"] * (log(top(drifted, 1)) * F32(0.434294482)) * _root(n, t)
    later = clamp(
        drifted + p["read_noise_scale"] * sigma * noise(), n.g_min, n.noise_g_max
    )
    return later if t > 0 else g


def wan_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    degree = len(n.p["coeff"]) // len(n.p["coeff_times"])
    sigma = polynomial(n.p["coeff"][:degree], g / n.noise_g_max)
    return top(g + F32(n.p["noise_scale"]) * _ratio(n) * sigma * noise(), 0), {
        "target": g
    }


def wan_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    times, level = (
        [np.full(1, v, F32) for v in n.p["coeff_times"]],
        c["target"] / n.noise_g_max,
    )
    degree = len(n.p["coeff"]) // len(times)
    curves = [
        polynomial(n.p["coeff"][k * degree : (k + 1) * degree], level)
        for k in range(len(times))
    ]
    sigma, late = curves[0], log(top(t, 1e-30))
    for k in range(1, len(times)):
        before = log(times[k - 1])
        share = (late - before) / (log(times[k]) - before)
        if share > 0:
            sigma = fma(
                np.minimum(share, F32(1)), curves[k] - curves[k - 1], curves[k - 1]
            )
    return top(c["target"] + F32(n.p["noise_scale"]) * _ratio(n) * sigma * noise(), 0)


def _ratio(n: Naive) -> Floats:
    reference = F32(n.p["coeff_g_max"])
    return n.noise_g_max / reference if reference > 0 else F32(1)


def _curve(
    a: Floats, limit: float, line: Sequence[float], above: Sequence[float]
) -> Floats:
    """A clipped line over ln a below the limit, a polynomial (highest power first) above it."""
    slope, offset, low, high = (F32(v) for v in line)
    value = np.full_like(a, F32(above[0]))
    for c in above[1:]:
        value = value * a + F32(c)
    below = clamp(slope * log(a) + offset, low, high)
    return np.where(a < F32(limit), below, value)


def hermes_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    a = top(g / n.noise_g_max, 1e-7)
    mean = _curve(
        a, 0.0945, (-0.0387, -0.0182, 0.072, 0.13), (-0.0436, -0.0126, 0.0736)
    )
    if n.p["num_devices"] == 1:
        std = _curve(
            a, 0.3039, (-0.0120, -0.0023, 0.0124, 0.04), (-0.0165, 0.0116, 0.0104)
        )
    else:
        std = _curve(
            a, 0.3055, (-0.0117, -0.0057, 0.0091, 0.04), (-0.0118, 0.0093, 0.0073)
        )
    nu = _spread(n, mean, std, noise())
    return _missed(g, n, _sigma(g, n), noise()), {"nu": nu}


def hermes_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    a = top(g / n.noise_g_max, 1e-7)
    if n.p["num_devices"] == 1:
        relative = _curve(
            a,
            0.1591,
            (-0.0078, 0.0038, 0.0179, 0.04),
            (0.0664, -0.1352, 0.0768, 0.0088),
        )
    else:
        relative = _curve(
            a, 0.16, (-0.0117, -0.0069, 0.015, 0.04), (0.0069, -0.0280, 0.0211, 0.0123)
        )
    return _power_law(g, c, n, t, relative, noise())


def exact_program(g: Floats, n: Naive, noise: Normal) -> tuple[Floats, Values]:
    return g, {}


def exact_drift(g: Floats, c: Values, n: Naive, noise: Normal, t: Floats) -> Floats:
    return g


MODELS: dict[str, tuple[Any, Any]] = {
    "pcm": (pcm_program, pcm_drift),
    "custom_drift": (custom_program, pcm_drift),
    "state_independent": (flat_program, flat_drift),
    "reram_cmo": (cmo_program, cmo_drift),
    "reram_wan2022": (wan_program, wan_drift),
    "hermes": (hermes_program, hermes_drift),
    "none": (exact_program, exact_drift),
}
# Normal numbers that a device draws in one event.
COUNTS = {
    pcm_program: 2, custom_program: 2, flat_program: 2, cmo_program: 1, wan_program: 1, hermes_program: 2,
    exact_program: 0, pcm_drift: 1, flat_drift: 1, cmo_drift: 2, wan_drift: 1, hermes_drift: 1, exact_drift: 0,
}  # fmt: skip
