"""Settings of a tile as dataclasses: periphery, pulsed update, mapping, and the choice of device
and algorithm.

Names and defaults are aihwkit's where they mean the same. Every field carries its unit, meaning and
range."""

from __future__ import annotations

import difflib
from collections.abc import Mapping as MappingType
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from engine.devices.base import Param, find_device
from engine.readers.wording import brief
from engine.tile.periphery import (
    BOUND_MANAGEMENT,
    MV_TYPES,
    NOISE_MANAGEMENT,
    WEIGHT_NOISE,
    check_io,
)
from engine.tile.training import (
    InputRange,
    WeightClip,
    WeightModifier,
    WeightRemap,
    training_problem,
)
from engine.tile.training import setting as setting  # noqa: PLC0414  the rest of the engine takes it from here

T = TypeVar("T")


PULSE_TYPES = (
    "None",
    "StochasticCompressed",
    "Stochastic",
    "NoneWithDevice",
    "MeanCount",
    "DeterministicImplicit",
)
DENSE = ("None", "NoneWithDevice")


@dataclass
class IO:
    """Periphery of one direction of a tile: DAC, product, ADC, and the management of noise and
    bounds."""

    is_perfect: bool = setting(False, "exact product; only out_scale still applies")
    mv_type: str = setting("OnePass", "how a signed product is read", choices=MV_TYPES)
    inp_bound: float = setting(1.0, "DAC range; <= 0 = no bound", "normalised input")
    inp_res: float = setting(
        1 / 126, "DAC step as a share of its range; > 1 = number of steps; <= 0 = continuous"
    )
    inp_sto_round: bool = setting(False, "the DAC rounds stochastically")
    inp_noise: float = setting(0.0, "noise after the DAC", "normalised input", minimum=0)
    inp_asymmetry: float = setting(0.0, "negative inputs are weaker by this share")
    out_bound: float = setting(12.0, "ADC range; <= 0 = no bound", "normalised output")
    out_res: float = setting(
        1 / 510, "ADC step as a share of its range; > 1 = number of steps; <= 0 = continuous"
    )
    out_sto_round: bool = setting(False, "the ADC rounds stochastically")
    out_noise: float = setting(0.06, "noise before the ADC", "normalised output", minimum=0)
    out_noise_std: float = setting(
        0.0, "output-to-output spread of out_noise", "of out_noise", minimum=0
    )
    out_scale: float = setting(1.0, "digital factor after the ADC")
    out_asymmetry: float = setting(0.0, "negative outputs are weaker by this share")
    bound_management: str = setting(
        "Iterative", "what happens when the ADC clips", choices=BOUND_MANAGEMENT
    )
    noise_management: str = setting(
        "AbsMax", "how inputs are scaled to the DAC range", choices=NOISE_MANAGEMENT
    )
    nm_thres: float = setting(
        0.0, "upper limit of the input scale, or the constant one; 0 = no limit", minimum=0
    )
    w_noise: float = setting(
        0.0, "weight noise of one read, referred to the output", "weight", minimum=0
    )
    w_noise_type: str = setting("None", "kind of weight noise", choices=WEIGHT_NOISE)
    ir_drop: float = setting(0.0, "scale of the voltage drop along the wires", minimum=0)
    ir_drop_g_ratio: float = setting(
        1 / 0.35 / 5e-6, "wire conductance over largest cell conductance", above=0
    )
    out_nonlinearity: float = setting(0.0, "strength of the S-shaped output curve")
    out_nonlinearity_std: float = setting(
        0.0, "output-to-output spread of it", "of out_nonlinearity", minimum=0
    )
    slope_calibration: float = setting(
        0.0, "share of the output curve's slope that is calibrated away", minimum=0
    )
    v_offset_std: float = setting(0.0, "output-to-output spread of the voltage offset", minimum=0)
    v_offset_positive: bool = setting(
        False, "offsets have one sign, not either; half of the outputs have none"
    )
    v_offset_w_min: float = setting(-1.0, "weight of the reference device")
    r_series: float = setting(
        0.0, "series resistance as a share of the total output current", minimum=0
    )
    w_read_asymmetry_dtod: float = setting(
        0.0, "spread of the weights' dependence on read polarity", minimum=0
    )
    # Each reduction by half is a read with random numbers and, on a GPU, a list of its own
    # (QUEUE_ROUNDS in mvm/args.cuh).
    max_bm_factor: int = setting(
        1000, "bound management stops beyond this input reduction", minimum=0, maximum=1 << 30
    )
    max_bm_res: float = setting(
        0.25, "bound management stops beyond this share of DAC steps; 0 = no start", minimum=0
    )
    bm_test_negative_bound: bool = setting(
        True, "a negative ADC hit triggers bound management as well"
    )
    bm_negative_hit_clears: bool = setting(
        False, "where it does not, it undoes an earlier positive hit"
    )
    mask_clipped_gradient: bool = setting(
        False,
        "outputs of the tile beyond out_bound pass no gradient to its inputs, whatever the management of bounds",
    )
    split_mode_bit_shift: int = setting(
        3, "bits of the DAC in the first pass of SplitMode", "bits", minimum=1
    )


@dataclass
class Update:
    """The pulsed update: trains of pulses on rows and columns whose coincidences move the cells."""

    desired_bl: int = setting(
        31, "length of the pulse trains, the largest with update_bl_management", "pulses", minimum=1
    )
    fixed_bl: bool = setting(
        True, "the trains keep their length when the learning rate is too large for it"
    )
    pulse_type: str = setting("StochasticCompressed", "how trains are made", choices=PULSE_TYPES)
    res: float = setting(0.0, "step of the firing probability; <= 0 = continuous", maximum=1)
    x_res_implicit: float = setting(
        0.0, "step of the input for DeterministicImplicit; <= 0 = continuous", maximum=1
    )
    d_res_implicit: float = setting(
        0.0, "step of the gradient for DeterministicImplicit; <= 0 = continuous", maximum=1
    )
    sto_round: bool = setting(False, "probabilities are rounded to their steps stochastically")
    update_bl_management: bool = setting(
        True, "trains are as short as each sample allows; implies update_management"
    )
    update_management: bool = setting(
        True, "probabilities of rows and columns are balanced for each sample"
    )
    um_grad_scale: float = setting(
        1.0, "bias of that balance: < 1 lets the gradient saturate earlier", above=0
    )


@dataclass
class Mapping:
    """How a logical weight matrix lies on tiles."""

    digital_bias: bool = setting(True, "the bias is added digitally, not by a column of the tile")
    weight_scaling_omega: float = setting(
        0.0, "largest weight on the tile after scaling; 0 = no scaling", minimum=0
    )
    weight_scaling_columnwise: bool = setting(
        False, "one scale for each output instead of one for the tile"
    )
    weight_scaling_lr_compensation: bool = setting(
        False, "the tile's learning rate is divided by the mean scale"
    )
    learn_out_scaling: bool = setting(False, "a digital output scale is learned")
    out_scaling_columnwise: bool = setting(
        False, "one learned scale for each output instead of one for the tile"
    )
    max_input_size: int = setting(512, "largest number of tile inputs; 0 = no limit", minimum=0)
    max_output_size: int = setting(512, "largest number of tile outputs; 0 = no limit", minimum=0)


POLICIES = ("all", "fixed", "sequential", "random")
MOST_CELLS = 8


@dataclass
class Vector:
    """Several devices side by side in each cell; the weight is their weighted sum."""

    copies: int = setting(
        1, "how often the devices of `cells` are repeated", "devices", minimum=1, maximum=MOST_CELLS
    )
    gamma_vec: list[float] = field(
        default_factory=list,
        metadata={"unit": "", "meaning": "factor of each device; empty = 1 / number of devices"},
    )
    policy: str = setting("all", "which device takes the pulses of a sample", choices=POLICIES)
    first: int = setting(
        0, "device that takes them (fixed), or whose successor begins (sequential)", minimum=0
    )


@dataclass
class ReferencePair:
    """A device that learns minus one that stays as it is."""


@dataclass
class OneSided:
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


GROUPS: dict[str, type] = {"vector": Vector, "reference_pair": ReferencePair, "one_sided": OneSided}


@dataclass
class DeviceSpec:
    """A device model by name (or `file.py:Name`) with all its parameters, or one of GROUPS with the
    cells' devices."""

    model: str = "constant_step"
    params: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, DeviceSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in GROUPS:
            self.params = find_device(self.model).validate(self.params)
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
        self.params = asdict(settings)

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
        f"first must be <= {number - 1}, not {settings.first}" if settings.first >= number else ""
    )


@dataclass
class AlgorithmSpec:
    """A learning algorithm by name, its settings, and a device for each further array that it
    owns."""

    name: str = "sgd"
    params: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, DeviceSpec] = field(default_factory=dict)


@dataclass
class TileSpec:
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


TEXTS = ("about", "source")
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
    return DeviceSpec(model, own, {name: device_spec(cell) for name, cell in cells.items()})


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
        k: device_spec(v) for k, v in own.items() if isinstance(v, MappingType) and "model" in v
    }
    params = {k: v for k, v in own.items() if k not in devices}
    return AlgorithmSpec(config.get("name", "sgd"), params, devices)


def check_keys(values: MappingType[str, Any], allowed: Any, where: str) -> None:
    """Raises ValueError, naming the nearest allowed key, for a key that is not allowed."""
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(key, list(allowed), 1)
            raise ValueError(
                f"{where} has no key {key!r}; "
                + (f"nearest: {near[0]}" if near else f"it has {', '.join(allowed)}")
            )


def read_settings(kind: type[T], values: MappingType[str, Any], where: str) -> T:
    """A settings dataclass from plain values, checked for type, range and choices. Raises
    ValueError in one line."""
    if not isinstance(values, MappingType):
        raise ValueError(f"{where} must hold settings, not {brief(values)}")
    table = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    check_keys(values, table, where)
    return kind(**{k: read_value(table[k], v, f"{where}.{k}") for k, v in values.items()})


def read_value(spec: Any, value: Any, name: str) -> Any:
    """One value for a dataclass field declared with `setting`. Raises ValueError in one line."""
    meta = spec.metadata
    if spec.default is None:
        return value
    if spec.default_factory is not MISSING:
        start = spec.default_factory()
        if is_dataclass(start):
            return (
                value if isinstance(value, type(start)) else read_settings(type(start), value, name)
            )
        return Param([0.0]).read(name, value) if value else []
    if isinstance(spec.default, str):
        choices = meta.get("choices")
        value = "None" if value is None else value
        if not isinstance(value, str) or (choices and value not in choices):
            near = difflib.get_close_matches(str(value), choices or (), 1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise ValueError(
                f"{name} must be one of {', '.join(choices or ('a text',))}, not {brief(value)}{hint}"
            )
        return value
    limits = {k: meta[k] for k in ("minimum", "maximum", "above") if k in meta}
    return Param(spec.default, **limits).read(name, value)
