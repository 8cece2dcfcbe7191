"""How the cells of a device answer to pulses: measured by running its snippet, never by a second
formula.

Needs a compiler but not torch, so that a curve can be shown at once. Shapes: T moments, G weights
of a grid, N cells."""

from __future__ import annotations

import ctypes
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.devices.base import find_device
from engine.jit import cpu, source
from engine.jit.struct import read_struct
from engine.tile.keys import derive, halves
from engine.tile.settings import DeviceSpec

Array = NDArray[np.float32]
CELLS = 400
MOMENTS = 60
POINTS = 61
MOST_PULSES = 12000
ENOUGH = 1.5
CONTROL_WORDS = 16


@dataclass(frozen=True)
class Response:
    """What 400 cells do in a train of up pulses from their lower bound and one of down pulses, and
    step by step.

    `weights` [2 T + 1, N] after every `each` pulses. `up` and `down` [G, N]: the change by one
    noiseless pulse at each weight of `grid` (down: negative), NaN beyond the bounds of a cell.
    `symmetry` [N]: where both are as large, or NaN."""

    each: int
    weights: Array
    grid: Array
    up: Array
    down: Array
    symmetry: Array


def measure(device: DeviceSpec, *, seed: int = 0) -> Response | None:
    """The response of a device; None for one without pulses of its own. Raises CompileError, or
    UserError."""
    model = find_device(device.model)
    if model.ideal:
        return None
    bounds = _run(device, seed, np.zeros(1, np.float32), 0)
    low, high = bounds["low"], bounds["high"]
    grid = np.linspace(
        np.quantile(low, 0.1), np.quantile(high, 0.9), POINTS, dtype=np.float32
    )
    steps = _run(device, seed, grid, 0)
    outside = (grid[:, None] < low) | (grid[:, None] > high)
    up, down = (np.where(outside, np.nan, steps[name]) for name in ("up", "down"))
    typical = float(np.nanmedian(np.abs([up, down]))) or float(
        device.params.get("dw_min", 1.0)
    )
    count = min(MOST_PULSES, math.ceil(ENOUGH * float(np.mean(high - low)) / typical))
    each = max(1, math.ceil(count / MOMENTS))
    weights = _run(device, seed, grid[:1], each)["weights"]
    return Response(each, weights, grid, up, down, _crossing(grid, up + down))


def pulse_on(device: DeviceSpec, grid: Array, normal: float) -> dict[str, Array]:
    """One pulse on the first cell at each weight of a grid, with `normal` as its noise: up, down
    [G], and the bounds low, high [1]."""
    found = _run(device, 0, grid, 0, cells=1, normal=normal)
    return {name: found[name].ravel() for name in ("up", "down", "low", "high")}


def _run(
    device: DeviceSpec,
    seed: int,
    grid: Array,
    each: int,
    *,
    cells: int = CELLS,
    normal: float = 0.0,
) -> dict[str, Array]:
    """What the kernel writes: low, high [N], up, down [G, N], and weights [2 T + 1, N] if there are
    pulses."""
    model, moments = find_device(device.model), MOMENTS if each else 0
    found = {
        "low": np.empty(cells, np.float32), "high": np.empty(cells, np.float32),
        "up": np.empty((len(grid), cells), np.float32), "down": np.empty((len(grid), cells), np.float32),
        "weights": np.empty((2 * moments + 1, cells), np.float32),
    }  # fmt: skip
    control = np.zeros(CONTROL_WORDS, np.int32)
    control[:2] = halves(
        derive(int(device.params.get("construction_seed", 0)) or seed, 0)
    )
    params = np.array(source.params_floats(model, device.params), np.float32)
    args: Any = read_struct("cells/response.cuh", "ResponseArgs")()
    args.items, args.points, args.moments, args.each = cells, len(grid), moments, each
    args.normal = normal
    for name, array in {
        **found,
        "params": params,
        "control": control,
        "grid": grid,
    }.items():
        setattr(args, name, array.ctypes.data)
    place = source.layout(model, device.params)
    _kernel(source.response_text(device.model, place))(ctypes.addressof(args), 1)
    return found


@functools.cache
def _kernel(text: str) -> Any:
    return cpu.Library(text, team=False).function("respond")


def _crossing(grid: Array, balance: Array) -> Array:
    """[N]: where the sum of both steps first falls through zero, between two weights of the
    grid."""
    before, after = balance[:-1], balance[1:]
    crosses = (before > 0) & (after <= 0)
    first, cells = crosses.argmax(0), np.arange(balance.shape[1])
    a, b = before[first, cells], after[first, cells]
    some = crosses.any(0)
    share = np.divide(a, a - b, out=np.full_like(a, np.nan), where=some)
    return np.where(
        some, grid[first] + (grid[first + 1] - grid[first]) * share, np.nan
    ).astype(np.float32)
