"""One analog matrix product of a tile: fused kernels before and after the digital products.

Shapes: L lanes (leading axis left out for L = 1), B samples, I inputs, O outputs, S sections
(vectors of one kind; each takes part in one digital product)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.jit.programs import fill, mvm_program
from engine.jit.struct import read_struct
from engine.tile.call import KEPT_NUMBERS, Call, Draws, Readable, own_of, scaled, shaped, weight_of
from engine.tile.inputs import check_plain, check_weight
from engine.tile.periphery import check_io, has_asymmetry, has_spreads, is_perfect, plan_numbers
from engine.tile.settings import IO

STREAMS = {
    ("forward", True): 16,
    ("backward", True): 32,
    ("forward", False): 48,
    ("backward", False): 64,
}
SPREADS = 4
# Converted inputs of one part of a large batch on a CPU, and the fewest vectors of a part.
MOST_CONVERTED = 1 << 18
LEAST_ROWS = 64
KEPT_SHAPES = 8


class Wires(Protocol):
    """Another product with the weights that a tile holds."""

    def multiply(self, v: Tensor, z: Tensor, draws: Draws) -> None:
        """z [S B, O] of converted inputs v [S B, I]."""


class Product(nn.Module):
    """The periphery of one direction of a tile. `exact` takes the fixed-order product instead of
    torch's."""

    average: Tensor | None
    frozen: Tensor | None
    asymmetry: Tensor | None

    def __init__(self, io: IO, direction: str, array: Readable) -> None:
        super().__init__()
        check_io(io)
        self.io, self.direction, self.exact, self.perfect = io, direction, False, is_perfect(io)
        self.sections = plan_numbers(io, 1, forward=direction == "forward")["sections"]
        self.streams = STREAMS[direction, False], STREAMS[direction, True]
        # Takes the place of the digital product while weights lie on wires that drop voltage over
        # time.
        self.wires: Wires | None = None
        self._plans: dict[torch.device, Tensor] = {}
        self._checked = 0
        self._prepared: dict[Any, list[Call]] = {}
        lasting = _lasting(self, array)
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
            raise RuntimeError(f"the input is on {x.device}, the tile on {weight.device}")
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
        if self.perfect and not self.exact and own_of(array) is None:
            w = weight.detach()
            return scaled(
                torch.matmul(x, w.mT if self.direction == "forward" else w), self.io.out_scale
            )
        stream = self.streams[training]
        small = self.sections == 1 and x.numel() <= MOST_CONVERTED
        if small or (rows := self._part(x, array)) >= x.shape[-2]:
            return self._read_rows(x, array, (call, stream, 0), None)
        y = x.new_empty(x.shape[0], weight.shape[0 if self.direction == "forward" else 1])
        for first in range(0, x.shape[0], rows):
            part = slice(first, first + rows)
            self._read_rows(x[part], array, (call, stream, first), y[part])
        return y

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
                LEAST_ROWS, KEPT_NUMBERS // (self.sections * (array.in_size + array.out_size))
            )
        return max(LEAST_ROWS, MOST_CONVERTED // x.shape[-1])

    def _read_rows(
        self, x: Tensor, array: Readable, numbers: tuple[int, int, int], y: Tensor | None
    ) -> Tensor:
        """Reads x [.., B, I] at once; `numbers` are call, stream, and the place of its first vector
        in the batch."""
        key = (x.shape, x.device, self.exact, self.wires is None)
        waiting = self._prepared.get(key)
        if waiting is None:
            if len(self._prepared) >= KEPT_SHAPES:
                self._prepared.clear()
            waiting = self._prepared[key] = []
        # Taken out while in use: a second thread prepares another one.
        prepared = waiting.pop() if waiting else Call(self, array, x)
        y = prepared.run(self, array, x, numbers, y)
        waiting.append(prepared)
        return y

    def plan(self, where: torch.device, inputs: int) -> Tensor:
        """The settings as the kernels read them."""
        if where not in self._plans:
            struct = read_struct("periphery.cuh", "MvmPlan")()
            for name, value in plan_numbers(
                self.io, inputs, forward=self.direction == "forward"
            ).items():
                setattr(struct, name, value)
            self._plans[where] = torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)
        return self._plans[where]

    def __getstate__(self) -> dict[str, Any]:
        # Prepared calls hold addresses: a copy makes its own.
        return {**self.__dict__, "_prepared": {}, "_plans": {}, "wires": None, "_checked": 0}


def _lasting(owner: Product, array: Readable) -> dict[str, Tensor | None]:
    """Running average [L], spreads of the outputs [L, 4, O] and of the weights, where the settings
    need them."""
    args, weight = shaped(owner.direction, array, 1), array.weight.data
    where, program, lanes = weight.device, mvm_program(weight.device.type), array.lanes
    averages = owner.io.noise_management == "AverageAbsMax" and not owner.perfect
    average = torch.full((lanes,), -1.0, dtype=torch.float32, device=where) if averages else None
    frozen = (
        torch.empty(lanes, SPREADS, args.n_out, dtype=torch.float32, device=where)
        if has_spreads(owner.io)
        else None
    )
    asymmetry = torch.empty_like(weight) if has_asymmetry(owner.io) else None
    # Both directions draw from the key of the array.
    args.call = int(owner.direction == "backward")
    fill(args, ("control", "plan"), (array.control, owner.plan(where, args.n_in)))
    for name, tensor, items in (
        ("mvm_freeze", frozen, lanes),
        ("mvm_freeze_weights", asymmetry, weight.numel()),
    ):
        if tensor is not None:
            args.items, args.frozen, args.asymmetry = items, tensor.data_ptr(), tensor.data_ptr()
            program.run(name, args, threads=1)
    return {"average": average, "frozen": frozen, "asymmetry": asymmetry}
