"""The parameters of a step model that make readings most likely, and how well they are known.

Which parameters count is found out: those whose change moves the snippet's step. The search is
Fisher's scoring with Levenberg's damping: it needs no random number, so its result repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.devices.base import Device, Param, find_device
from engine.fit.filter import Filtered, Floats, Steps, run_filter, steps_of

READ_NOISE = "read_noise"
# Each is a scale, so its logarithm is searched and its error is relative.
SCALES = ("dw_min", "dw_min_std", READ_NOISE)
# What acts between mini-batches, not in a pulse, and what differs between cells.
OTHER = ("drift_", "lifetime", "diffusion", "reset", "corrupt_", "write_noise")
# Differences by which slopes are taken: above the noise of the snippet's 32-bit floats.
NUDGE = 0.01
ROUNDS = 40
DAMPING = 10.0 ** np.arange(-4.0, 4.0, 1.0)
# Shapes beyond this are steps of a threshold; bounds further out than so many times the readings
# are not reached by them.
LARGEST, FAR = 50.0, 3.0
# A gain of the log-likelihood below this is no gain.
ENOUGH = 1e-2
# Directions of less information than this share of the largest are not determined by the data.
RANK = 1e-9
# Shape parameters that start at 0 have no side to go to.
FIRST_SHAPE = 0.3
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Data:
    """Readings of one device in units of the weight [N + 1], and the pulses between them [N]."""

    readings: Floats
    pulses: Floats


@dataclass(frozen=True)
class Fit:
    """A fitted model: all parameters, those that were searched, their standard errors, and what
    was left."""

    model: str
    params: dict[str, Any]
    values: dict[str, float]
    errors: dict[str, float]
    loss: float
    rank: int
    filtered: Filtered

    def criterion(self, count: int) -> float:
        """Akaike's criterion with the correction for few readings (AICc)."""
        k = self.rank
        correction = 2.0 * k * (k + 1) / max(count - k - 1, 1)
        return 2.0 * self.loss + 2.0 * k + correction


def fit_model(model: str, data: Data, seen: Bools, start: Fit | None = None) -> Fit:
    """The most likely parameters given the readings that are `seen`. Raises ValueError for a model
    whose parameters cannot be searched."""
    device = find_device(model)
    space = _Space(device, model, data, seen, _first_values(device, model, data))
    theta = space.first if start is None else space.place(start.values)
    loss = float(space.losses([theta])[0])
    for _ in range(ROUNDS):
        gradient, information = space.slopes(theta)
        scale = np.diag(np.maximum(np.diag(information), 1e-6))
        tries = [
            space.limit(theta - np.linalg.solve(information + d * scale, gradient))
            for d in DAMPING
        ]
        losses = space.losses(tries)
        best = int(np.argmin(losses))
        gain = loss - float(losses[best])
        if not gain > 0.0:
            break
        theta, loss = tries[best], float(losses[best])
        if gain < ENOUGH:
            break
    return space.result(theta, loss)


def first_guess(data: Data) -> tuple[float, float]:
    """Typical step and read noise, from the increments: read noise alone makes neighbours
    correlate by minus its variance."""
    moved = np.diff(data.readings) * data.pulses
    centred = moved - moved.mean()
    signed = centred * data.pulses
    shared = float(np.mean(signed[1:] * signed[:-1]))
    total = float(np.var(moved))
    noise = np.sqrt(max(-shared, 0.01 * total, 1e-8))
    step = max(abs(float(moved.mean())), 0.02 * float(np.sqrt(total)), 1e-5)
    return step, float(noise)


def _first_values(device: Device, model: str, data: Data) -> dict[str, Any]:
    """All parameters of the model, every spread between cells off, at the start of the search."""
    if any(isinstance(param.default, list) for param in device.params.values()):
        raise ValueError("its step is a table, which has no few parameters to search")
    if "reference_mean" in device.params:
        raise ValueError("its reference shifts the weight, which no curve can tell")
    step, _ = first_guess(data)
    given: dict[str, Any] = {
        name: 0.0
        for name, param in device.params.items()
        if name.endswith("_dtod") and isinstance(param.default, float)
    }
    low, high = float(data.readings.min()), float(data.readings.max())
    margin = 0.05 * (high - low)
    wanted = {
        "dw_min": step,
        "dw_min_std": 0.3,
        "w_min": min(low - margin, -1e-3),
        "w_max": max(high + margin, 1e-3),
        "mult_noise": True,
    }
    given |= {name: v for name, v in wanted.items() if name in device.params}
    full = device.validate(given)
    for name, param in device.params.items():
        if _is_shape(name, param) and full[name] == 0.0:
            given[name] = FIRST_SHAPE
    return device.validate(given)


def _is_shape(name: str, param: Param) -> bool:
    other = name.endswith("_dtod") or name.startswith(OTHER) or "std" in name
    known = name in ("dw_min", "up_down", "w_min", "w_max")
    return isinstance(param.default, float) and not other and not known


class _Space:
    """The parameters that are searched, and the likelihood over them."""

    def __init__(
        self, device: Device, model: str, data: Data, seen: Bools, full: dict[str, Any]
    ) -> None:
        self.device, self.model, self.full = device, model, full
        self.data, self.seen = data, seen
        self.reach = float(np.abs(data.readings).max())
        self.names = [*self._searched(), READ_NOISE]
        _, noise = first_guess(data)
        self.first = self.place({**full, READ_NOISE: noise})

    def _searched(self) -> list[str]:
        """The parameters whose change moves the step."""
        base = steps_of(self.model, self.full)
        found = []
        for name, param in self.device.params.items():
            other = name.endswith("_dtod") or name.startswith(OTHER)
            if other or not isinstance(param.default, float):
                continue
            value = float(self.full[name]) * 1.1 or 0.1
            changed = self.device.validate({**self.full, name: value})
            if not _same(base, steps_of(self.model, changed)):
                found.append(name)
        return found

    def place(self, values: dict[str, Any]) -> Floats:
        """The point of the search that stands for these values."""
        return np.array(
            [
                np.log(values[name]) if name in SCALES else float(values[name])
                for name in self.names
            ]
        )

    def values(self, theta: Floats) -> dict[str, float]:
        """The values that a point of the search stands for."""
        pairs = zip(self.names, theta, strict=True)
        return {n: float(np.exp(v) if n in SCALES else v) for n, v in pairs}

    def limit(self, theta: Floats) -> Floats:
        """The nearest point that the declaration of each parameter allows."""
        limited = theta.copy()
        for k, name in enumerate(self.names):
            if name in SCALES:
                limited[k] = np.clip(theta[k], np.log(1e-7), np.log(1e3))
                continue
            param = self.device.params[name]
            floor = param.minimum if param.above is None else param.above + 1e-3
            low = -LARGEST if floor is None else floor
            high = LARGEST if param.maximum is None else param.maximum
            low = max(low, 0.0) if "std" in name else low
            # Beyond the readings a bound is a guess; far out it would thin out the grid.
            if name in ("w_min", "w_max"):
                low, high = max(low, -FAR * self.reach), min(high, FAR * self.reach)
            limited[k] = np.clip(theta[k], low, high)
        return limited

    def _filter(self, thetas: list[Floats]) -> Filtered:
        sets, noise = [], []
        for theta in thetas:
            values = self.values(theta)
            noise.append(values.pop(READ_NOISE))
            sets.append(
                steps_of(self.model, self.device.validate({**self.full, **values}))
            )
        trace = (self.data.readings, self.data.pulses)
        # Far steps of the search may overflow; their likelihood is no number, and they are refused.
        with np.errstate(over="ignore", invalid="ignore"):
            return run_filter(sets, np.array(noise), trace, self.seen)

    def losses(self, thetas: list[Floats]) -> Floats:
        """Negative log-likelihood of each point; infinite where the model refuses it."""
        losses = np.full(len(thetas), np.inf)
        allowed = [k for k, theta in enumerate(thetas) if self._allows(theta)]
        if allowed:
            filtered = self._filter([thetas[k] for k in allowed])
            losses[allowed] = np.nan_to_num(filtered.loss(self.seen), nan=np.inf)
        return losses

    def _allows(self, theta: Floats) -> bool:
        values = self.values(theta)
        del values[READ_NOISE]
        try:
            self.device.validate({**self.full, **values})
        except ValueError:
            return False
        return bool(np.isfinite(theta).all())

    def slopes(self, theta: Floats) -> tuple[Floats, Floats]:
        """Gradient of the loss [K] and Fisher's information [K, K]."""
        pairs = []
        for k in range(len(theta)):
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[k] += sign * NUDGE
                moved = self.limit(moved)
                pairs.append(moved if self._allows(moved) else theta)
        filtered = self._filter([theta, *pairs])
        error, variance = (
            filtered.surprise[:, self.seen],
            filtered.variance[:, self.seen],
        )
        # One side may have been cut by a limit: divide by the way that was really gone.
        gone = np.array(
            [(a - b).sum() for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        )
        way = np.where(gone == 0.0, np.inf, gone)[:, None]
        by_error = (error[1::2] - error[2::2]) / way
        by_variance = (variance[1::2] - variance[2::2]) / way
        e, s = error[0], variance[0]
        gradient = (by_error * (e / s)).sum(1)
        gradient += 0.5 * (by_variance * (1.0 / s - e**2 / s**2)).sum(1)
        scaled_error, scaled_variance = by_error / np.sqrt(s), by_variance / s
        information = scaled_error @ scaled_error.T
        information += 0.5 * scaled_variance @ scaled_variance.T
        return gradient, information

    def result(self, theta: Floats, loss: float) -> Fit:
        """The fit at a point, with errors from the curvature of the likelihood there."""
        _, information = self.slopes(theta)
        size = np.sqrt(np.maximum(np.diag(information), 1e-300))
        # Scaled to a unit diagonal, the rank does not depend on units.
        scaled = information / np.outer(size, size)
        known = size > 1e-6
        eigen, vectors = np.linalg.eigh(scaled)
        good = eigen > max(RANK, RANK * float(eigen[-1]))
        rank = int((good).sum() - (~known).sum())
        inverse = (vectors[:, good] / eigen[good]) @ vectors[:, good].T
        loose = (vectors[:, ~good] ** 2).sum(1) > 1e-3
        deviation = np.sqrt(np.maximum(np.diag(inverse), 0.0)) / size
        values = self.values(theta)
        errors: dict[str, float] = {}
        for k, name in enumerate(self.names):
            scale = values[name] if name in SCALES else 1.0
            unknown = bool(loose[k] or not known[k])
            errors[name] = float("inf") if unknown else float(deviation[k]) * scale
        params = {n: v for n, v in values.items() if n != READ_NOISE}
        full = self.device.validate({**self.full, **params})
        return Fit(
            self.model, full, values, errors, loss, max(rank, 1), self._filter([theta])
        )


def _same(one: Steps, other: Steps) -> bool:
    pairs: list[tuple[Any, Any]] = [
        (one.mean, other.mean),
        (one.spread, other.spread),
        ((one.low, one.high), (other.low, other.high)),
    ]
    return all(np.array_equal(a, b) for a, b in pairs)
