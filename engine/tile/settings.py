"""Settings of a tile as dataclasses: periphery, pulsed update, mapping, and the choice of device
and algorithm.

Names and defaults are aihwkit's where they mean the same. Every field carries its unit, meaning and
range."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from engine.config.fields import setting
from engine.config.hwa import (
    InputRange,
    WeightClip,
    WeightModifier,
    WeightRemap,
    training_problem,
)
from engine.config.merge import TEXTS
from engine.config.sections import (
    Parameters,
    Settings,
    changes,
    check_keys,
    declarations,
    read_settings,
)
from engine.config.tile import DENSE, IO, PULSE_TYPES, Mapping, Update
from engine.devices.base import find_device
from engine.readers.wording import brief
from engine.tile.periphery import check_io

# The rest of the engine takes these from here.
__all__ = (
    "DENSE",
    "IO",
    "PULSE_TYPES",
    "TEXTS",
    "Mapping",
    "Update",
    "check_keys",
    "read_settings",
    "setting",
)

POLICIES = ("all", "fixed", "sequential", "random")
MOST_CELLS = 8


@dataclass
class Vector(Settings):
    """Several devices side by side in each cell; the weight is their weighted sum."""

    copies: int = setting(
        1,
        "how often the devices of `cells` are repeated",
        "devices",
        minimum=1,
        maximum=MOST_CELLS,
    )
    gamma_vec: list[float] = setting(
        [], "factor of each device; empty = 1 / number of devices"
    )
    policy: str = setting(
        "all", "which device takes the pulses of a sample", choices=POLICIES
    )
    first: int = setting(
        0,
        "device that takes them (fixed), or whose successor begins (sequential)",
        minimum=0,
    )


@dataclass
class ReferencePair(Settings):
    """A device that learns minus one that stays as it is."""


@dataclass
class OneSided(Settings):
    """Two devices that are only ever pulsed up: the first raises the weight, the second lowers
    it."""

    refresh_every: int = setting(
        0, "period of the refresh; 0 = never", "mini-batches or samples", minimum=0
    )
    units_in_mbatch: bool = setting(True, "the period counts mini-batches, not samples")
    refresh_upper_thres: float = setting(
        0.75, "refresh where the larger one is above this", "of w_max", minimum=0
    )
    refresh_lower_thres: float = setting(
        0.25, "and the smaller one above this", "of w_max", minimum=0
    )
    refresh_forward: IO = field(default_factory=IO)
    refresh_update: Update = field(default_factory=Update)


GROUPS: dict[str, type] = {
    "vector": Vector,
    "reference_pair": ReferencePair,
    "one_sided": OneSided,
}


@dataclass
class DeviceSpec(Settings):
    """A device model by name (or `file.py:Name`) with all its parameters, or one of GROUPS with the
    cells' devices."""

    model: str = "constant_step"
    params: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, DeviceSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in GROUPS:
            device = find_device(self.model)
            self.params = Parameters(device.validate(self.params), device.params)
            return
        where = f"device {self.model}"
        settings: Any = read_settings(GROUPS[self.model], self.params, where)
        if not self.cells:
            raise ValueError(
                f"{where} needs the devices of its cells, such as cells: {{a: {{model: constant_step}}}}"
            )
        problem = _group_problem(settings, list(self.cells.values()))
        if problem:
            raise ValueError(f"{where}: {problem}")
        self.params = Parameters(asdict(settings), declarations(type(settings)))

    def __str__(self) -> str:
        """The model, and what differs from its defaults."""
        return _described(self.model, self.params, self.cells)

    @property
    def devices(self) -> list[DeviceSpec]:
        """The devices of a cell, in order; pairs of equal devices are named once."""
        named = list(self.cells.values())
        if self.model in ("reference_pair", "one_sided"):
            return named * (2 // len(named))
        return named * int(self.params.get("copies", 1))


def _group_problem(settings: Any, named: list[DeviceSpec]) -> str:
    """One line on what does not fit together in a cell of several devices, or nothing."""
    for spec in named:
        if spec.model in GROUPS or find_device(spec.model).ideal:
            return f"cells must be pulsed devices, not {spec.model}"
    if not isinstance(settings, Vector):
        return (
            f"cells must be one device (taken twice) or two, not {len(named)}"
            if len(named) > 2
            else ""
        )
    number = settings.copies * len(named)
    if number > MOST_CELLS:
        return f"copies x cells must be <= {MOST_CELLS}, not {number}"
    if settings.gamma_vec and len(settings.gamma_vec) != number:
        return f"gamma_vec must have {number} numbers, one for each device, not {len(settings.gamma_vec)}"
    return (
        f"first must be <= {number - 1}, not {settings.first}"
        if settings.first >= number
        else ""
    )


@dataclass
class AlgorithmSpec(Settings):
    """A learning algorithm by name, its settings, and a device for each further array that it
    owns."""

    name: str = "sgd"
    params: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, DeviceSpec] = field(default_factory=dict)

    def __str__(self) -> str:
        """The name, what is set, and the devices of further arrays."""
        return _described(self.name, self.params, self.devices)


def _described(
    name: str, values: MappingType[str, Any], devices: MappingType[str, DeviceSpec]
) -> str:
    """A name, the values that differ from the defaults, and a line for each device below it."""
    declared = values.declared if isinstance(values, Parameters) else None
    line = ", ".join([name, *changes(values, declared or {})])
    return "\n  ".join([line, *(f"{key}: {device}" for key, device in devices.items())])


@dataclass
class TileSpec(Settings):
    """Everything that decides how a tile behaves."""

    device: DeviceSpec = field(default_factory=DeviceSpec)
    algorithm: AlgorithmSpec = field(default_factory=AlgorithmSpec)
    forward: IO = field(default_factory=IO)
    backward: IO = field(default_factory=IO)
    update: Update = field(default_factory=Update)
    mapping: Mapping = field(default_factory=Mapping)
    modifier: WeightModifier = field(default_factory=WeightModifier)
    clip: WeightClip = field(default_factory=WeightClip)
    remap: WeightRemap = field(default_factory=WeightRemap)
    input_range: InputRange = field(default_factory=InputRange)

    @staticmethod
    def from_config(config: MappingType[str, Any]) -> TileSpec:
        """What a composed configuration (`device`, `algorithm`, `tile`) specifies. Raises
        ValueError in one line."""
        tile = {k: v for k, v in config.get("tile", {}).items() if k not in TEXTS}
        check_keys(tile, TILE_PARTS, "tile")
        spec = TileSpec(
            device=device_spec(config.get("device", {})),
            algorithm=_algorithm_spec(config.get("algorithm", {})),
            **{
                k: read_settings(kind, tile.get(k, {}), f"tile.{k}")
                for k, kind in TILE_PARTS.items()
            },
        )
        check_io(spec.forward, "tile.forward")
        check_io(spec.backward, "tile.backward")
        problem = training_problem(
            spec.modifier, spec.remap, spec.input_range, forward=spec.forward
        )
        if problem:
            raise ValueError(f"tile.{problem}")
        return spec

    def __str__(self) -> str:
        """What differs from the defaults, a line for each part."""
        lines = [f"device: {self.device}", f"algorithm: {self.algorithm}"]
        for part in TILE_PARTS:
            section = getattr(self, part)
            found = list(changes(vars(section), declarations(type(section))))
            if found:
                lines.append(f"{part}: {', '.join(found)}")
        return "\n".join(lines)


# What the section `tile` of a configuration is made of.
TILE_PARTS: dict[str, type] = {
    "forward": IO, "backward": IO, "update": Update, "mapping": Mapping,
    "modifier": WeightModifier, "clip": WeightClip, "remap": WeightRemap, "input_range": InputRange,
}  # fmt: skip


def device_spec(config: MappingType[str, Any]) -> DeviceSpec:
    """A device from its configuration: `model`, texts and parameters side by side."""
    model = config.get("model", "constant_step")
    own = {k: v for k, v in config.items() if k != "model" and k not in TEXTS}
    if model not in GROUPS:
        return DeviceSpec(model, own)
    cells = own.pop("cells", None) or {}
    for name, cell in cells.items():
        if not isinstance(cell, MappingType):
            raise ValueError(
                f"device {model}: cells.{name} must hold a device with its model, not {brief(cell)}"
            )
    return DeviceSpec(
        model, own, {name: device_spec(cell) for name, cell in cells.items()}
    )


def device_keys(model: str) -> list[str]:
    """The parameters of a device model or group. Raises ValueError with the nearest name."""
    return (
        [*(f.name for f in fields(GROUPS[model])), "cells"]
        if model in GROUPS
        else list(find_device(model).params)
    )


def _algorithm_spec(config: MappingType[str, Any]) -> AlgorithmSpec:
    own = {k: v for k, v in config.items() if k != "name" and k not in TEXTS}
    devices = {
        k: device_spec(v)
        for k, v in own.items()
        if isinstance(v, MappingType) and "model" in v
    }
    params = {k: v for k, v in own.items() if k not in devices}
    return AlgorithmSpec(config.get("name", "sgd"), params, devices)
