"""The conductances of one tile: made from its weights, kept, and turned back into weights at any
time.

Shapes: L lanes (left out for L = 1), O x I cells, K devices in a cell, C values that a device
keeps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.inference.base import NoiseModel
from engine.inference.settings import Converter, InferenceSpec
from engine.inference.text import noise_floats, noise_program
from engine.jit.programs import fill
from engine.jit.struct import read_constant, read_struct, words
from engine.settings import UserError
from engine.tile.keys import halves

HEADER = "inference/conductance.cuh"
PAIRS, TABLES, SINGLE = (
    read_constant(HEADER, name) for name in ("PAIRS", "TABLES", "SINGLE")
)
KINDS = {
    "single_pair": PAIRS,
    "dual_pair": PAIRS,
    "n_pair": PAIRS,
    "custom_pair": TABLES,
    "single_device": SINGLE,
}
CONTROL_WORDS = words("random.cuh", "Control")
LANES = 32
NEVER = 3e38


class Conductances:
    """G [K, .., O, I] as programmed, and what each device keeps from it [K, C, .., O, I]."""

    def __init__(
        self, model: NoiseModel, spec: InferenceSpec, like: Tensor, keys: list[int]
    ) -> None:
        self.model, self.spec, self.shape, self.calls = model, spec, like.shape, 0
        self.name = spec.noise_model if model.path else model.name
        where, converter = like.device, spec.converter
        self.devices = device_count(converter)
        self.g = torch.empty(
            self.devices, *like.shape, dtype=torch.float32, device=where
        )
        self.kept = torch.empty(
            self.devices,
            len(model.kept),
            *like.shape,
            dtype=torch.float32,
            device=where,
        )
        self.params = torch.tensor(
            noise_floats(model, spec.noise), dtype=torch.float32, device=where
        )
        tables = [v for row in converter.tables or [] for v in row]
        self.tables = torch.tensor(tables, dtype=torch.float32, device=where)
        control = torch.zeros(len(keys), CONTROL_WORDS, dtype=torch.int32)
        for lane, key in enumerate(keys):
            control[lane, 0], control[lane, 1] = halves(key)
        self.control = control.to(where)
        self.weight = self.limits = torch.empty(0, dtype=torch.float32)
        # Conductances as they were read last, where somebody needs them.
        self.seen = torch.empty_like(self.g) if spec.wires.enabled else None

    def program(self, target: Tensor) -> Tensor:
        """Programs target weights [.., O, I]; returns the weights that the devices make. Raises
        UserError for NaN."""
        self.limits = self._limits(target)
        if not bool(torch.isfinite(self.limits).all()):
            raise UserError(
                "there are weights that are not finite: they cannot be programmed"
            )
        verify = self.spec.programming == "write_verify"
        rounds, band = (
            (self.spec.verify_rounds, self.spec.verify_band) if verify else (1, NEVER)
        )
        out = self._run("program_cells", target, rounds=rounds, band=band)
        if self.seen is not None:
            self.seen.copy_(self.g)
        if self.spec.reconvert:
            self.weight, self.limits = out.clone(), self._limits(out)
        return out

    def drift(self, time: float) -> Tensor:
        """The weights [.., O, I] that the devices make `time` seconds after programming, read
        once."""
        self.calls += 1
        return self._run(
            "drift_cells", self.weight, time=time, anew=int(self.spec.reconvert)
        )

    @property
    def gain(self) -> float:
        """Conductance of a weight of 1 (one lane)."""
        low, high = self.limits[0].tolist()
        span: float = _with_converter(
            read_struct(HEADER, "InferenceArgs")(), self.spec.converter
        ).span
        return span / max(-low, high, 1e-7)

    def _limits(self, weight: Tensor) -> Tensor:
        """Smallest and largest weight [L, 2]."""
        flat = weight.detach().view(self.control.shape[0], -1)
        return torch.stack(torch.aminmax(flat, dim=1), 1).contiguous()

    def _run(self, kernel: str, weight: Tensor, **values: float) -> Tensor:
        args = _with_converter(
            read_struct(HEADER, "InferenceArgs")(), self.spec.converter
        )
        out = torch.empty(self.shape, dtype=torch.float32, device=self.g.device)
        matrices = self.control.shape[0]
        args.matrices, args.cells, args.call = (
            matrices,
            out.numel() // matrices,
            self.calls,
        )
        args.items = matrices * ((args.cells + LANES - 1) // LANES)
        names = ("w", "limits", "tables", "params", "g", "kept", "out", "control")
        fill(
            args,
            names,
            (
                weight,
                self.limits,
                self.tables,
                self.params,
                self.g,
                self.kept,
                out,
                self.control,
            ),
        )
        args.noise_g_max = self.spec.noise_g_max or self.spec.converter.g_max
        if self.seen is not None:
            args.read = self.seen.data_ptr()
        for name, value in values.items():
            setattr(args, name, value)
        program = noise_program(self.name, out.device.type)
        program.run(kernel, args, warp=True)
        return out


def device_count(converter: Converter) -> int:
    """Devices in a cell."""
    if converter.kind == "single_device":
        return 1
    return 2 * max(1, len(converter.significance))


def _with_converter(args: Any, converter: Converter) -> Any:
    """Fills in what the kernels need to know of the converter."""
    args.kind, args.devices = KINDS[converter.kind], device_count(converter)
    args.g_max, args.g_min = converter.g_max, converter.g_min
    reach = converter.g_max - converter.g_min
    factors, start = converter.significance or [1.0], 0.0
    for k, factor in enumerate(factors):
        args.factor[k], args.start[k] = factor, start
        start += factor * reach
    args.span = start if args.kind == PAIRS else reach
    if args.kind == TABLES:
        args.points = len(converter.tables[0])
        args.span = max(map(abs, converter.table_weights()))
    return args
