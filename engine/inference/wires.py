"""Products through wires that drop voltage, with inputs as pulses of different lengths.

Shapes: B vectors, I inputs, O outputs, P pairs of devices.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from engine.inference.conductance import Conductances
from engine.inference.settings import InferenceSpec
from engine.jit.programs import Program, fill
from engine.jit.struct import choice, read_struct
from engine.jit.unit import unit_text
from engine.settings import UserError
from engine.tile.launch import Draws
from engine.tile.periphery import passes, step_size
from engine.tile.settings import IO
from engine.tile.tile import Tile

# Of a conductance: 1, |g| and g^2.
POWERS = 3


def wires_text() -> str:
    """The translation unit of reads through wires."""
    return unit_text("inference/wires.cu")


@functools.cache
def wires_program(backend: str) -> Program:
    """The kernels of reads through wires."""
    return Program(wires_text(), backend)


class Ladder:
    """The columns of one tile. Weights that stand for wires and cells change with the conductances
    alone."""

    def __init__(
        self, tile: Tile, spec: InferenceSpec, conductances: Conductances
    ) -> None:
        self.io, self.wires, self.conductances = (
            tile.spec.forward,
            spec.wires,
            conductances,
        )
        self.inputs, self.outputs = tile.array.in_size, tile.array.out_size
        _check(self.io, spec, tile)
        self.rows = _rows(spec, tile)
        self.pairs = conductances.devices // 2
        where = tile.weight.device
        self.factor = torch.empty(
            self.pairs, self.outputs, self.inputs, dtype=torch.float32, device=where
        )
        self.base = torch.empty(
            self.pairs, self.outputs, dtype=torch.float32, device=where
        )
        noisy = self.pairs if self.wires.read_noise > 0 else 0
        self.spread = torch.empty(
            noisy, POWERS, self.outputs, self.inputs, dtype=torch.float32, device=where
        )
        self.unit = step_size(self.io.inp_res, 1.0)

    def update(self) -> None:
        """Weights and offsets of all passes from the conductances."""
        seen = self.conductances.seen
        assert seen is not None
        for pair in range(self.pairs):
            args = self._args(0)
            args.items = self.outputs
            parts = (
                seen[2 * pair],
                seen[2 * pair + 1],
                self.factor[pair],
                self.base[pair],
            )
            fill(args, ("plus", "minus", "factor", "base"), parts)
            if len(self.spread):
                args.spread = self.spread[pair].data_ptr()
            self._run("wire_columns", args)

    def multiply(self, v: Tensor, z: Tensor, draws: Draws) -> None:
        """z [S B, O] of converted inputs v [S B, I], a pass of B vectors after the other."""
        count = passes(self.io)
        batch = v.shape[0] // count
        for number in range(count):
            part = slice(number * batch, (number + 1) * batch)
            self._read(v[part], z[part], number, draws)

    def _read(self, v: Tensor, z: Tensor, number: int, draws: Draws) -> None:
        args, length = self._args(number), torch.empty_like(v)
        args.items = v.numel()
        fill(args, ("v", "length"), (v, length))
        self._run("wire_inputs", args)
        charge = torch.stack([length @ factor.T for factor in self.factor])
        if len(self.spread):
            self._disturb(
                args,
                charge,
                length,
                draws._replace(stream=(draws.stream << 8) + number),
            )
        # Offsets were made for the first pass: they grow with the duration of a read.
        base = self.base * (args.steps / self._args(0).steps)
        args.items = z.numel()
        fill(args, ("charge", "base", "z"), (charge, base, z))
        self._run("wire_outputs", args)

    def _disturb(self, args: Any, charge: Tensor, length: Tensor, draws: Draws) -> None:
        """Adds to charges [P, B, O] what cells that are read with inputs of `length` [B, I] add to
        them by chance."""
        square, batch = length.square(), len(length)
        variance = torch.stack(
            [square @ spread.T for spread in self.spread.flatten(0, 1)]
        )
        share = torch.empty(2, batch, dtype=torch.float32, device=charge.device)
        args.items = args.batch = batch
        fill(args, ("share", "variance", "charge"), (share, variance, charge))
        self._run("wire_levels", args)
        args.items = batch * ((self.outputs + 3) // 4)
        args.control, args.call, args.draw, args.first = (
            draws.control,
            draws.call,
            draws.stream,
            draws.first,
        )
        self._run("wire_noise", args)

    def _args(self, number: int) -> Any:
        """What kernels need to know of a pass."""
        args, wires = read_struct("inference/wires.cuh", "WireArgs")(), self.wires
        steps, step = self._steps(number)
        args.inputs, args.outputs, args.physical = self.inputs, self.outputs, self.rows
        args.noise, args.unit = wires.read_noise, self.unit
        args.before, args.segments, args.pairs = (
            (self.rows - self.inputs) // 2,
            wires.segments,
            self.pairs,
        )
        args.wire = 1e-6 * wires.resistance * (self.rows // wires.segments)
        args.idle, args.v_read = self._idle(), wires.v_read
        args.steps, args.step = steps, step
        args.integration, args.digital = (
            choice("inference/wires.cuh", "Integration", wires.integration),
            int(wires.adc_quantized),
        )
        args.frequency = wires.adc_frequency
        for pair, factor in enumerate(
            self.conductances.spec.converter.significance or [1.0]
        ):
            args.weight[pair] = factor
        # A cell drives 0.2 V times its conductance for each step that its input lasts.
        args.scale = (
            step / (0.2 * self.conductances.gain)
            if self.conductances.limits.numel()
            else 0.0
        )
        return args

    def _steps(self, number: int) -> tuple[int, float]:
        """Time steps of a pass, and how much input lasts one step."""
        if self.io.mv_type == "BitWise":
            return 2, self.unit
        bits = round(2 / self.unit + 2).bit_length() - 1
        if self.io.mv_type == "SplitMode":
            shift = self.io.split_mode_bit_shift
            return 2 ** (shift if number == 0 else bits - 1 - shift), self.unit
        steps = int((2 / self.unit + 2) / 2 * self.wires.time_scale)
        return steps, 1 / (steps - 1)

    def _idle(self) -> float:
        """Conductance of both devices of a pair in a row without input."""
        converter = self.conductances.spec.converter
        if converter.kind != "custom_pair":
            return 2 * converter.g_min
        middle = [
            (row[(len(row) - 1) // 2] + row[len(row) // 2]) / 2
            for row in converter.tables
        ]
        return middle[0] + middle[1]

    def _run(self, kernel: str, args: Any) -> None:
        program = wires_program(self.factor.device.type)
        program.run(kernel, args)


def _rows(spec: InferenceSpec, tile: Tile) -> int:
    segments = spec.wires.segments
    return spec.wires.rows or (tile.array.in_size + segments - 1) // segments * segments


def _check(io: IO, spec: InferenceSpec, tile: Tile) -> None:
    """Raises UserError in one line for what cannot be read through wires."""
    rows = _rows(spec, tile)
    problems = [
        (tile.array.lanes > 1, "one lane"),
        (
            spec.converter.kind == "single_device",
            "pairs of devices, not converter.kind=single_device",
        ),
        (
            io.is_perfect or io.mv_type not in ("OnePass", "SplitMode", "BitWise"),
            "mv_type OnePass, SplitMode or BitWise",
        ),
        (
            step_size(io.inp_res, io.inp_bound) <= 0 or io.inp_bound != 1,
            "a DAC with steps (inp_res > 0, inp_bound=1)",
        ),
        (
            io.bound_management != "None",
            f"bound_management=None, not {io.bound_management}",
        ),
        (io.ir_drop > 0 or io.w_noise > 0, "ir_drop=0 and w_noise=0 in tile.forward"),
        (
            rows < tile.array.in_size,
            f"at least as many rows as inputs ({tile.array.in_size}), not {rows}",
        ),
        (
            rows % spec.wires.segments > 0,
            f"rows ({rows}) that are a multiple of segments ({spec.wires.segments})",
        ),
    ]
    for wrong, needed in problems:
        if wrong:
            raise UserError(f"inference.wires needs {needed}")
