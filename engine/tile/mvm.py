"""One analog matrix product of a tile: fused kernels before and after the digital products.

Shapes: L replicas (leading axis left out for L = 1), B samples, I inputs, O outputs, S sections
(vectors of one kind; each takes part in one digital product)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engine.jit.programs import fill, mvm_program
from engine.jit.struct import read_constant, read_struct
from engine.tile.inputs import check_plain, check_weight
from engine.tile.launch import (
    ARGS,
    KEPT_NUMBERS,
    Draws,
    MvmLaunch,
    Operands,
    Readable,
    arguments,
    per_sample_of,
    weight_of,
)
from engine.tile.periphery import (
    check_io,
    has_asymmetry,
    has_spreads,
    is_perfect,
    plan_numbers,
)
from engine.tile.settings import IO
from engine.tile.strategies.mvm import MvmCase, choose

# Random numbers of a direction, by whether it reads for training.
STREAMS = {
    (direction, training): read_constant("random.cuh", name)
    for direction, training, name in (
        ("forward", True, "FORWARD"),
        ("backward", True, "BACKWARD"),
        ("forward", False, "EVALUATE"),
        ("backward", False, "EVALUATE_BACK"),
    )
}
# Converted inputs of one part of a large batch on a CPU, and the fewest vectors of a part.
MAX_CONVERTED = 1 << 18
MIN_ROWS = 64
KEPT_SHAPES = 8
NONE: dict[str, Tensor] = {}


class Wires(Protocol):
    """Another product with the weights that a tile holds."""

    def multiply(self, v: Tensor, z: Tensor, draws: Draws) -> None:
        """z [S B, O] of converted inputs v [S B, I]."""


class Group(NamedTuple):
    """Sections [first, last) that are multiplied with the same weights."""

    first: int
    last: int
    # Weights times the variability of read polarity, and the absolute values of that.
    asymmetric: bool
    absolute: bool


class Product(nn.Module):
    """The periphery of one direction of a tile. `exact` takes products in a fixed order instead of
    torch's."""

    average: Tensor | None
    frozen: Tensor | None
    asymmetry: Tensor | None

    def __init__(self, io: IO, direction: str, array: Readable) -> None:
        super().__init__()
        check_io(io)
        self.io, self.direction, self.exact, self.perfect = (
            io,
            direction,
            False,
            is_perfect(io),
        )
        self.forward_order = direction == "forward"
        self.groups = _groups(plan_numbers(io, 1, forward=self.forward_order), io)
        self.sections = self.groups[-1].last
        self.streams = STREAMS[direction, False], STREAMS[direction, True]
        # Takes the place of the digital product while weights lie on wires that drop voltage over
        # time.
        self.wires: Wires | None = None
        self._plans: dict[torch.device, Tensor] = {}
        self._checked = 0
        self._prepared: dict[Any, list[MvmLaunch]] = {}
        lasting = self._draw_lasting(array)
        self.lasting = [name for name, tensor in lasting.items() if tensor is not None]
        for name, tensor in lasting.items():
            self.register_buffer(name, tensor)

    def read(self, x: Tensor, array: Readable, *, call: int, training: bool) -> Tensor:
        """y [.., B, O] of x [.., B, I] with the weights [.., O, I] forward, the other way round
        backward.

        Raises RuntimeError if x lives on another processor than the weights.
        """
        weight = weight_of(array)
        if x.device != weight.device:
            raise RuntimeError(
                f"the input is on {x.device}, the tile on {weight.device}"
            )
        if weight.data_ptr() != self._checked:
            self._check(array, weight)
        if x.requires_grad:
            x = x.detach()
        try:
            ready = x.dtype is torch.float32 and type(x) is Tensor and x.is_contiguous()
        except RuntimeError:  # sparse tensors do not answer
            ready = False
        if not ready:
            check_plain(x)
            x = x.to(torch.float32).contiguous()
        if self.perfect and not self.exact and per_sample_of(array) is None:
            w = weight.detach()
            y = torch.matmul(x, w.mT if self.forward_order else w)
            return y if self.io.out_scale == 1.0 else y * self.io.out_scale
        stream = self.streams[training]
        small = self.sections == 1 and x.numel() <= MAX_CONVERTED
        if small or (rows := self._part(x, array)) >= x.shape[-2]:
            y = self._read_rows(Operands(x, array, None, (call, stream, 0)))
        else:
            y = x.new_empty(x.shape[0], weight.shape[0 if self.forward_order else 1])
            for first in range(0, x.shape[0], rows):
                part = slice(first, first + rows)
                self._read_rows(
                    Operands(x[part], array, y[part], (call, stream, first))
                )
        return (
            y.mul_(self.io.out_scale)
            if self.perfect and self.io.out_scale != 1.0
            else y
        )

    def _check(self, array: Readable, weight: Tensor) -> None:
        """Makes sure, once for each place in memory, that kernels read weights as they are."""
        lead = (array.lanes,) if array.lanes > 1 else ()
        check_weight(weight, (*lead, array.out_size, array.in_size))
        # Past nn.Module, whose own way of setting takes longer than a small product.
        self.__dict__["_checked"] = weight.data_ptr()

    def _part(self, x: Tensor, array: Readable) -> int:
        """Vectors that are read at once.

        A large batch goes in parts: converted inputs never take as much memory as the inputs, and
        several vectors for each of them stay in memory that is kept, most of it in a cache."""
        if array.lanes > 1 or self.average is not None or x.device.type != "cpu":
            return int(x.shape[-2])
        if self.sections > 1:
            return max(
                MIN_ROWS,
                KEPT_NUMBERS // (self.sections * (array.in_size + array.out_size)),
            )
        return max(MIN_ROWS, MAX_CONVERTED // x.shape[-1])

    def _read_rows(self, operands: Operands) -> Tensor:
        """Reads x [.., B, I] at once."""
        x, array = operands.x, operands.array
        disturbed = per_sample_of(array) is not None
        key = (x.shape, x.device, self.exact, self.wires is None, disturbed)
        waiting = self._prepared.get(key)
        if waiting is None:
            if len(self._prepared) >= KEPT_SHAPES:
                self._prepared.clear()
            waiting = self._prepared[key] = []
        # Taken out while in use: a second thread prepares another one.
        prepared = waiting.pop() if waiting else self._prepare(x, array)
        lasting = (
            {name: getattr(self, name) for name in self.lasting}
            if self.lasting
            else NONE
        )
        y = prepared.run(operands, lasting, self._multiply)
        waiting.append(prepared)
        return y

    def _prepare(self, x: Tensor, array: Readable) -> MvmLaunch:
        case = self._case(x, array)
        settings = plan_numbers(self.io, case.n_in, forward=self.forward_order)
        return MvmLaunch(case, choose(case), self.plan(x.device, case.n_in), settings)

    def _case(self, x: Tensor, array: Readable) -> MvmCase:
        sizes = (array.in_size, array.out_size)
        n_in, n_out = sizes if self.forward_order else sizes[::-1]
        return MvmCase(
            on_cpu=x.device.type == "cpu", forward=self.forward_order, replicas=array.lanes,
            batch=x.shape[-2], n_in=n_in, n_out=n_out, sections=self.sections,
            perfect=self.perfect, exact=self.exact, wires=self.wires is not None,
            asymmetric=has_asymmetry(self.io), per_sample=per_sample_of(array) is not None,
        )  # fmt: skip

    def _multiply(self, v: Tensor, weight: Tensor, z: Tensor, draws: Draws) -> None:
        """The digital products of all sections by torch, as many at once as have the same weights,
        or those of the wires."""
        if self.wires is not None:
            self.wires.multiply(v, z, draws)
            return
        multiply = torch.bmm if weight.dim() == 3 else torch.mm
        if len(self.groups) == 1:
            multiply(v, weight.mT if self.forward_order else weight, out=z)
            return
        batch = v.shape[-2] // self.sections
        rows = [batch * (group.last - group.first) for group in self.groups]
        parts = zip(self.groups, v.split(rows, -2), z.split(rows, -2), strict=True)
        for group, inputs, outputs in parts:
            spread = self.asymmetry if group.asymmetric else None
            w = weight if spread is None else weight * spread
            w = w.abs() if group.absolute else w
            multiply(inputs, w.mT if self.forward_order else w, out=outputs)

    def plan(self, where: torch.device, inputs: int) -> Tensor:
        """The settings as the kernels read them."""
        if where not in self._plans:
            struct = read_struct(ARGS, "MvmPlan")()
            for name, value in plan_numbers(
                self.io, inputs, forward=self.forward_order
            ).items():
                setattr(struct, name, value)
            self._plans[where] = torch.frombuffer(
                bytearray(struct), dtype=torch.uint8
            ).to(where)
        return self._plans[where]

    def _draw_lasting(self, array: Readable) -> dict[str, Tensor | None]:
        """Running average [L], constants of the outputs [L, 4, O] and factors of the weights, where
        the settings need them."""
        weight, lanes = array.weight.data, array.lanes
        where, program = weight.device, mvm_program(weight.device.type)
        case = self._case(weight.new_empty(1, 0), array)
        args = arguments(case)
        average = frozen = asymmetry = None
        if self.io.noise_management == "AverageAbsMax" and not self.perfect:
            average = torch.full((lanes,), -1.0, dtype=torch.float32, device=where)
        if has_spreads(self.io):
            rows = read_constant(ARGS, "FROZEN_ROWS")
            frozen = torch.empty(
                lanes, rows, case.n_out, dtype=torch.float32, device=where
            )
        if has_asymmetry(self.io):
            asymmetry = torch.empty_like(weight)
        # Both directions draw from the key of the array.
        args.call = int(not self.forward_order)
        fill(args, ("control", "plan"), (array.control, self.plan(where, case.n_in)))
        for name, tensor, items in (
            ("mvm_freeze", frozen, lanes),
            ("mvm_freeze_weights", asymmetry, weight.numel()),
        ):
            if tensor is not None:
                args.items, args.frozen, args.asymmetry = (
                    items,
                    tensor.data_ptr(),
                    tensor.data_ptr(),
                )
                program.run(name, args, threads=1)
        return {"average": average, "frozen": frozen, "asymmetry": asymmetry}

    def __getstate__(self) -> dict[str, Any]:
        # Prepared launches hold addresses: a copy makes its own.
        return {
            **self.__dict__,
            "_prepared": {},
            "_plans": {},
            "wires": None,
            "_checked": 0,
        }


def _groups(settings: dict[str, Any], io: IO) -> list[Group]:
    """The sections of a product, in groups of the same weights."""
    passes, signed, absolute = (
        settings[name] for name in ("passes", "signed_kinds", "absolute_kinds")
    )
    ends = [passes * signed, settings["sections"]]
    kinds = [(False, False), (False, True)]
    if has_asymmetry(io):
        # Where the input is negative: in the first pass.
        ends = [
            signed,
            passes * signed,
            passes * signed + absolute,
            settings["sections"],
        ]
        kinds = [(True, False), (False, False), (True, True), (False, True)]
    starts = [0, *ends[:-1]]
    groups = [
        Group(a, b, *kind) for a, b, kind in zip(starts, ends, kinds, strict=True)
    ]
    return [group for group in groups if group.last > group.first]
