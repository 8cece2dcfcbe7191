"""What a device is: parameters, constants of a cell, and a few lines of CUDA C for one pulse.

The C struct, the tensors of the cells, the YAML schema and the tables of the documentation all
follow from this declaration. `step` is the physics; its vocabulary is

    w          weight of the cell, changed in place
    up         true for a pulse that raises the weight
    p.NAME     a parameter of the device
    c.NAME     a constant of this cell, drawn at construction
    s.NAME     hidden state of this cell, kept over pulses
    noise()    a fresh standard normal number
    uniform()  a fresh number in (0, 1)
    exp_ log_ pow_ sqrt_ abs_ min_ max_ floor_ round_ clamp_
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.config.fields import MAX_NODES, Param
from engine.config.members import Members
from engine.devices._file import load_member, only_member
from engine.readers.wording import unknown
from engine.trust.code import is_code

# What others take from here beside our own.
__all__ = (
    "BASE_CELLS",
    "FOLDER",
    "MAX_NODES",
    "Device",
    "Param",
    "device_names",
    "find_device",
)
DEVICES = Members("engine.devices", "no device model", others=("base",))
FOLDER = DEVICES.folder
BASE_CELLS = {
    "max_bound": "upper bound of the weight",
    "min_bound": "lower bound of the weight",
    "dwmin_up": "step of an up pulse at weight 0, before the step model",
    "dwmin_down": "step of a down pulse at weight 0, before the step model (positive)",
}


@dataclass(frozen=True)
class Device:
    """One kind of device.

    `cells` names the constants of a cell beyond `BASE_CELLS`; the snippet `construct` sets them
    after the common ones are drawn (training spec: bounds, steps, decay, diffusion, reset, drift).
    `step` is one pulse and `bounds` what follows every pulse. The expected step, the granularity,
    is read from a pulse of the mean device: without spreads, with `probe_values` in place of what
    was asked for, at the weight `probe` ("zero", "middle" of the bounds, or a function of the
    parameters), in `probe_direction` ("up", "down", "stronger"). `jump` is for devices whose pulse
    moves the weight by shift + slope w + spread noise(), none of which depends on the weight: it
    sets these three, so that many pulses are drawn at once. `jump_if` says for which parameters
    that holds. `noise_scales` names parameters that all switch `noise()` off when they are 0.
    `derive` gives the parameters that follow from others; `check` returns one line if parameters
    contradict each other."""

    name: str
    about: str
    formula: str
    params: Mapping[str, Param]
    step: str = ""
    jump: str = ""
    jump_if: str = "true"
    source: str = ""
    aihwkit: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    construct: str = ""
    bounds: str = "w = clamp_(w, c.min_bound, c.max_bound);"
    probe: str | Callable[[Mapping[str, Any]], float] = "zero"
    probe_direction: str = "stronger"
    probe_values: Mapping[str, Any] = field(default_factory=dict)
    noise_scales: tuple[str, ...] = ()
    derive: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    check: Callable[[dict[str, Any]], str | None] | None = None
    ideal: bool = False
    path: str = ""

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of the device, `values` over the defaults. Raises ValueError in one
        line."""
        for key in values:
            if key not in self.params:
                hint = unknown(key, self.params, have="it has")
                raise ValueError(f"device {self.name} has no parameter {key!r}; {hint}")
        full = {
            k: p.read(k, values[k]) if k in values else p.default
            for k, p in self.params.items()
        }
        for key, value in (self.derive(full) if self.derive else {}).items():
            if key in values and not math.isclose(full[key], value, rel_tol=1e-6):
                raise ValueError(
                    f"device {self.name}: {key} follows from others and is {value:g}, not {full[key]:g}"
                )
            full[key] = value
        problem = self.check(full) if self.check else None
        if problem:
            raise ValueError(f"device {self.name}: {problem}")
        return full


def device_names() -> list[str]:
    """Names of the built-in devices, from the files of this folder."""
    return DEVICES.names()


def find_device(name: str) -> Device:
    """The device of a built-in name, of a table `steps.csv`, or of `path/to/file.py:Name` (which
    runs that file).

    Raises ValueError with the nearest name, or with what is wrong with the file.
    """
    if name.endswith(".csv"):
        return DEVICES.find("table_step").from_csv(Path(name))  # type: ignore[no-any-return]
    if is_code(name):
        found, path = load_member(name, Device, "device")
        return replace(found, path=path)
    return only_member(vars(DEVICES.find(name)), Device, name)
