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

import difflib
import importlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.devices._file import load_member, only_member
from engine.readers.wording import brief
from engine.trust.code import is_code

FOLDER = Path(__file__).parent
MAX_NODES = 64
LARGEST = sys.float_info.max
BASE_CELLS = {
    "max_bound": "upper bound of the weight",
    "min_bound": "lower bound of the weight",
    "dwmin_up": "step of an up pulse at weight 0, before the step model",
    "dwmin_down": "step of a down pulse at weight 0, before the step model (positive)",
}


@dataclass(frozen=True)
class Param:
    """A parameter: its default (which fixes the type), unit, meaning and allowed range (both ends
    included)."""

    default: Any
    unit: str = ""
    meaning: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None

    @property
    def kind(self) -> type:
        return type(self.default)

    def read(self, name: str, value: Any) -> Any:
        """`value` as this parameter's type. Raises ValueError with one line that says what is
        allowed."""
        if self.kind is list:
            if not isinstance(value, list | tuple) or not value or len(value) > MAX_NODES:
                raise ValueError(
                    f"{name} must be a list of 1 to {MAX_NODES} numbers, not {brief(value)}"
                )
            return [Param(0.0).read(f"{name}[{i}]", v) for i, v in enumerate(value)]
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {brief(value)}")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, not {brief(value)}")
        # An integer may be larger than any number of the other kind.
        if abs(value) > LARGEST or not math.isfinite(value):
            raise ValueError(f"{name} must be finite, at most {LARGEST:.2g}, not {brief(value)}")
        if self.kind is int and value != int(value):
            raise ValueError(f"{name} must be a whole number, not {brief(value)}")
        if self.above is not None and value <= self.above:
            raise ValueError(f"{name} must be > {self.above:g}, not {value:g}")
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"{name} must be >= {self.minimum:g}, not {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"{name} must be <= {self.maximum:g}, not {value:g}")
        # Whole numbers go to programs that have 64 bits for them.
        if self.kind is int and abs(value) >= 2**63:
            raise ValueError(f"{name} must be below 2^63 = 9.2e18, not {value:g}")
        return self.kind(value)


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
                near = difflib.get_close_matches(key, self.params, 1)
                hint = (
                    f"; nearest: {near[0]}"
                    if near
                    else f"; it has {', '.join(sorted(self.params))}"
                )
                raise ValueError(f"device {self.name} has no parameter {key!r}{hint}")
        full = {
            k: p.read(k, values[k]) if k in values else p.default for k, p in self.params.items()
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
    return sorted(p.stem for p in FOLDER.glob("[a-z]*.py") if p.stem != "base")


def find_device(name: str) -> Device:
    """The device of a built-in name, of a table `steps.csv`, or of `path/to/file.py:Name` (which
    runs that file).

    Raises ValueError with the nearest name, or with what is wrong with the file.
    """
    if name.endswith(".csv"):
        return importlib.import_module("engine.devices.table_step").from_csv(Path(name))
    if is_code(name):
        found, path = load_member(name, Device, "device")
        return replace(found, path=path)
    if name not in device_names():
        near = difflib.get_close_matches(name, device_names(), 1)
        hint = f"nearest: {near[0]}" if near else f"there are {', '.join(device_names())}"
        raise ValueError(f"no device model {name!r}; {hint}")
    module = importlib.import_module(f"engine.devices.{name}")
    return only_member(vars(module), Device, name)
