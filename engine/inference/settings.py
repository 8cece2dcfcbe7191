"""Settings of analog inference: noise model, converter, programming, compensation, and when to
read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.config.fields import setting
from engine.config.merge import TEXTS
from engine.config.sections import (
    Settings,
    check_keys,
    declarations,
    read_field,
    read_settings,
)
from engine.inference.base import find_noise_model
from engine.inference.times import seconds
from engine.settings import UserError

CONVERTERS = ("single_pair", "dual_pair", "n_pair", "custom_pair", "single_device")
COMPENSATIONS = ("global", "exact_reference", "per_column", "none")
INTEGRATIONS = ("sum", "trapezium")
PROGRAMMINGS = ("open_loop", "write_verify")
MOST_PAIRS = 8


@dataclass
class Converter(Settings):
    """How a weight becomes the conductances of the devices of its cell."""

    kind: str = setting(
        "single_pair",
        "devices of a cell and how they share its weight",
        choices=CONVERTERS,
    )
    g_max: float = setting(25.0, "largest conductance", "uS", above=0)
    g_min: float = setting(0.0, "smallest conductance", "uS", minimum=0)
    significance: list[float] = setting(
        [], "factor of each pair, filled in this order (dual_pair, n_pair, custom_pair)"
    )
    tables: Any = setting(
        None,
        "custom_pair: conductances of each device at even steps of the weight, two lists a pair, + first",
        "uS",
    )
    invertible: bool = setting(
        True, "custom_pair: tables that do not give the weight back are refused"
    )

    def check(self) -> None:
        """Raises UserError in one line for settings that contradict each other."""
        if self.g_max <= self.g_min:
            raise UserError(
                f"inference.converter.g_max must be above g_min ({self.g_min:g}), not {self.g_max:g}"
            )
        pairs = len(self.significance)
        if any(factor <= 0 for factor in self.significance):
            raise UserError(
                f"inference.converter.significance must be > 0, not {self.significance}"
            )
        wanted = {
            "dual_pair": (2, 2),
            "n_pair": (1, MOST_PAIRS),
            "custom_pair": (1, MOST_PAIRS),
        }.get(self.kind, (0, 0))
        if not wanted[0] <= pairs <= wanted[1]:
            numbers = (
                f"{wanted[0]} to {wanted[1]}"
                if wanted[0] < wanted[1]
                else str(wanted[0] or "no")
            )
            raise UserError(
                f"inference.converter.significance must hold {numbers} numbers for {self.kind}, not {pairs}"
            )
        if self.kind == "custom_pair":
            self._check_tables(pairs)

    def _check_tables(self, pairs: int) -> None:
        tables = self.tables if isinstance(self.tables, list | tuple) else []
        lengths = {len(row) if isinstance(row, list | tuple) else 0 for row in tables}
        if len(tables) != 2 * pairs or len(lengths) != 1 or min(lengths) < 2:
            raise UserError(
                f"inference.converter.tables must be {2 * pairs} lists of the same length, two for each significance"
            )
        numbers = [v for row in tables for v in row]
        if any(
            isinstance(v, bool) or not isinstance(v, int | float) or not v >= 0
            for v in numbers
        ):
            raise UserError("inference.converter.tables must hold conductances >= 0")
        weights = self.table_weights()
        top, points = max(map(abs, weights)), len(weights)
        if top == 0:
            raise UserError(
                "inference.converter.tables give every weight the same conductances"
            )
        line = [top * (2 * k / (points - 1) - 1) for k in range(points)]
        if (
            self.invertible
            and max(abs(w - v) for w, v in zip(weights, line, strict=True)) > 1e-4 * top
        ):
            raise UserError(
                "inference.converter.tables do not give the weight back: the sum of f (g+ - g-) must rise evenly"
            )

    def table_weights(self) -> list[float]:
        """What the tables make of the weight, in uS, at their nodes."""
        pairs = list(
            zip(self.significance, self.tables[::2], self.tables[1::2], strict=True)
        )
        return [
            sum(f * (plus[k] - minus[k]) for f, plus, minus in pairs)
            for k in range(len(self.tables[0]))
        ]


@dataclass
class Wires(Settings):
    """Voltage drop along the wires of a column while inputs are pulses of different lengths."""

    enabled: bool = setting(
        False,
        "whether it is simulated; tile.forward then needs a DAC with steps and no ir_drop",
    )
    resistance: float = setting(
        0.15, "resistance of the wire from one cell to the next", "ohm", minimum=0
    )
    segments: int = setting(
        8, "pieces of a column whose cells meet in one node", minimum=1, maximum=64
    )
    rows: int = setting(
        0,
        "rows of the crossbar, inputs in the middle; 0 = as many as inputs and whole segments need",
        minimum=0,
    )
    v_read: float = setting(
        0.4005, "voltage at which an ADC holds its end of a column", "V"
    )
    time_scale: float = setting(
        1.0, "time steps for each step of the DAC (OnePass)", above=0
    )
    integration: str = setting(
        "sum", "how time steps add up to a charge", choices=INTEGRATIONS
    )
    adc_quantized: bool = setting(True, "the ADC counts whole ticks")
    adc_frequency: float = setting(6.24, "ticks of the ADC", "GHz", above=0)
    read_noise: float = setting(
        0.0,
        "scale of the noise of a read, the larger the shorter its inputs last on average (PCM)",
        minimum=0,
    )


@dataclass
class InferenceSpec(Settings):
    """How trained weights are programmed on devices, and what of them is read later.

    `noise` holds the parameters of the noise model. Settings that are left out take the defaults of
    the noise model."""

    noise_model: str = setting(
        "pcm", "technology: noise of programming and reading, and drift"
    )
    programming: str = setting(
        "open_loop",
        "each device is written once, or again while it misses its target",
        choices=PROGRAMMINGS,
    )
    verify_band: float = setting(
        0.25, "write_verify: largest miss that is accepted", "uS", above=0
    )
    verify_rounds: int = setting(
        55, "write_verify: writes of a device at most", "writes", minimum=1
    )
    reconvert: bool = setting(
        False,
        "drift starts from the programmed weights, converted anew with their largest at g_max",
    )
    compensation: str = setting(
        "global",
        "digital factor of the outputs that makes up for drift",
        choices=COMPENSATIONS,
    )
    noise_g_max: float = setting(
        0.0, "g_max that the noise reckons with; 0 = the converter's", "uS", minimum=0
    )
    times: list[Any] = setting(
        ["1s", "1h", "1d", "1y"],
        "times after programming, with units s min h d month y",
        free=True,
    )
    repeats: int = setting(10, "programmings, each with noise of its own", minimum=1)
    wires: Wires = field(default_factory=Wires)
    converter: Converter = field(default=None)  # type: ignore[assignment]  # the noise model's own
    noise: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = find_noise_model(self.noise_model)
        self.noise = model.validate(self.noise)
        if self.converter is None:
            self.converter = Converter(**model.converter)
        self.converter.check()
        self.seconds()

    def seconds(self) -> list[float]:
        """The times in seconds. Raises UserError in one line."""
        if not isinstance(self.times, list | tuple) or not self.times:
            raise UserError(
                f"inference.times must be a list such as [1s,1h], not {self.times!r}"
            )
        return [seconds(value, "inference.times") for value in self.times]

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> InferenceSpec:
        """What the section `inference` of a configuration specifies. Raises ValueError in one
        line."""
        values = {k: v for k, v in config.items() if k not in TEXTS}
        table = declarations(InferenceSpec)
        check_keys(values, table, "inference")
        model = find_noise_model(
            read_field(
                table["noise_model"], values.get("noise_model", "pcm"), "noise_model"
            )
        )
        parts = {name: values.pop(name, None) or {} for name in ("noise", "converter")}
        for name, part in parts.items():
            if not isinstance(part, Mapping):
                raise UserError(f"inference.{name} must hold settings, not {part!r}")
        converter = read_settings(
            Converter, {**model.converter, **parts["converter"]}, "inference.converter"
        )
        times = {"times": values.pop("times")} if "times" in values else {}
        plain = {
            k: read_field(table[k], v, f"inference.{k}") for k, v in values.items()
        }
        return InferenceSpec(
            **plain, **times, converter=converter, noise=dict(parts["noise"])
        )
