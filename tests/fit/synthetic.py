"""Readings of a device whose parameters are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.devices import find_device
from engine.fit.filter import steps_of
from engine.fit.read import Trace


def trace_of(
    model: str, params: dict[str, Any], *, seed: int, trains: Sequence[int] = (100,) * 6
) -> Trace:
    """Trains of pulses, up and down in turn, read with a noise of 0.01."""
    device = find_device(model)
    own: dict[str, Any] = {n: 0.0 for n in device.params if n.endswith("_dtod")}
    if "mult_noise" in device.params:
        own["mult_noise"] = True
    steps = steps_of(model, device.validate(own | params))
    grid = np.linspace(steps.low, steps.high, steps.mean.shape[1])
    random = np.random.default_rng(seed)
    weights, pulses = [0.0], []
    for number, count in enumerate(trains):
        up = 1 - number % 2
        for _ in range(count):
            step = np.interp(weights[-1], grid, steps.mean[up])
            spread = np.interp(weights[-1], grid, steps.spread[up])
            moved = weights[-1] + step + spread * random.standard_normal()
            weights.append(float(np.clip(moved, steps.low, steps.high)))
            pulses.append(1.0 if up else -1.0)
    noise = 0.01 * random.standard_normal(len(weights))
    return Trace(f"cell{seed}", np.array(weights) + noise, np.array(pulses))


def write_long(path: Path, traces: Sequence[Trace], *, scale: float = 1.0) -> Path:
    """A long table as a laboratory may have it."""
    lines = ["device,polarity,conductance (uS)"]
    for trace in traces:
        pulses = [1.0, *trace.pulses]
        for pulse, value in zip(pulses, trace.readings, strict=True):
            word = "LTP" if pulse > 0 else "LTD"
            lines.append(f"{trace.name},{word},{50.0 + scale * value:.8g}")
    path.write_text("\n".join(lines) + "\n")
    return path
