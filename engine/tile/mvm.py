"""One analog matrix product of a tile: fused kernels before and after the digital products.

Shapes: L lanes (leading axis left out for L = 1), B samples, I inputs, O outputs, S sections (vectors of one kind; each
takes part in one digital product).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.jit.programs import fill, mvm_program
from engine.jit.struct import read_struct
from engine.tile.periphery import check_io, has_asymmetry, has_spreads, is_perfect, plan_numbers
from engine.tile.settings import IO

STREAMS = {("forward", True): 16, ("backward", True): 32, ("forward", False): 48, ("backward", False): 64}
SPREADS = 4
# Below so many numbers a second thread costs more than it saves.
ONE_THREAD = 8192
# So few multiplications are left to the kernels around them: a call of torch takes longer.
SMALL_PRODUCT = 1 << 17
MOST_ROWS = 64
# Vectors between kernels are kept from call to call while they are small; larger ones would add up over the tiles.
KEPT_NUMBERS = 1 << 18
# Converted inputs of one part of a large batch on a CPU, and the fewest vectors of a part.
MOST_CONVERTED = 1 << 18
LEAST_ROWS = 64
KEPT_SHAPES = 8


class Readable(Protocol):
    """What has weights [.., O, I] to read, and a key for the noise."""

    out_size: int
    in_size: int
    lanes: int

    @property
    def weight(self) -> Tensor: ...

    @property
    def control(self) -> Tensor: ...


class Wires(Protocol):
    """Another product with the weights that a tile holds."""

    def multiply(self, v: Tensor, z: Tensor) -> None:
        """z [S B, O] of converted inputs v [S B, I]."""


class Product(nn.Module):
    """The periphery of one direction of a tile. `exact` takes the fixed-order product instead of torch's."""

    average: Tensor | None
    frozen: Tensor | None
    asymmetry: Tensor | None

    def __init__(self, io: IO, direction: str, array: Readable) -> None:
        super().__init__()
        check_io(io)
        self.io, self.direction, self.exact, self.perfect = io, direction, False, is_perfect(io)
        self.sections = plan_numbers(io, 1, forward=direction == "forward")["sections"]
        self.streams = STREAMS[direction, False], STREAMS[direction, True]
        # Takes the place of the digital product while weights lie on wires that drop voltage over time.
        self.wires: Wires | None = None
        self._plans: dict[torch.device, Tensor] = {}
        self._prepared: dict[Any, list[_Prepared]] = {}
        lasting = _lasting(self, array)
        self.lasting = [name for name, tensor in lasting.items() if tensor is not None]
        for name, tensor in lasting.items():
            self.register_buffer(name, tensor)

    def read(self, x: Tensor, array: Readable, *, call: int, training: bool) -> Tensor:
        """y [.., B, O] of x [.., B, I] with the weights [.., O, I] forward, the other way round backward.

        Raises RuntimeError if x lives on another processor than the weights.
        """
        weight = weight_of(array)
        if x.device != weight.device:
            raise RuntimeError(f"the input is on {x.device}, the tile on {weight.device}")
        if x.requires_grad:
            x = x.detach()
        if x.dtype is not torch.float32 or not x.is_contiguous():
            x = x.to(torch.float32).contiguous()
        if self.perfect and not self.exact and own_of(array) is None:
            w = weight.detach()
            return _scaled(torch.matmul(x, w.mT if self.direction == "forward" else w), self.io.out_scale)
        stream = self.streams[training]
        small = self.sections == 1 and x.numel() <= MOST_CONVERTED
        if small or (rows := self._part(x, array)) >= x.shape[-2]:
            return self._read_rows(x, array, (call, stream, 0), None)
        y = x.new_empty(x.shape[0], weight.shape[0 if self.direction == "forward" else 1])
        for first in range(0, x.shape[0], rows):
            part = slice(first, first + rows)
            self._read_rows(x[part], array, (call, stream, first), y[part])
        return y

    def _part(self, x: Tensor, array: Readable) -> int:
        """Vectors that are read at once.

        A large batch goes in parts: converted inputs never take as much memory as the inputs, and several vectors for
        each of them stay in memory that is kept, most of it in a cache.
        """
        if array.lanes > 1 or self.average is not None or x.device.type != "cpu":
            return int(x.shape[-2])
        if self.sections > 1:
            return max(LEAST_ROWS, KEPT_NUMBERS // (self.sections * (array.in_size + array.out_size)))
        return max(LEAST_ROWS, MOST_CONVERTED // x.shape[-1])

    def _read_rows(self, x: Tensor, array: Readable, numbers: tuple[int, int, int], y: Tensor | None) -> Tensor:
        """Reads x [.., B, I] at once; `numbers` are call, stream, and the place of its first vector in the batch."""
        key = (x.shape, x.device, self.exact, self.wires is None)
        waiting = self._prepared.get(key)
        if waiting is None:
            if len(self._prepared) >= KEPT_SHAPES:
                self._prepared.clear()
            waiting = self._prepared[key] = []
        # Taken out while in use: a second thread prepares another one.
        prepared = waiting.pop() if waiting else _Prepared(self, array, x)
        y = prepared.run(self, array, x, numbers, y)
        waiting.append(prepared)
        return y

    def plan(self, where: torch.device, inputs: int) -> Tensor:
        """The settings as the kernels read them."""
        if where not in self._plans:
            struct = read_struct("periphery.cuh", "MvmPlan")()
            for name, value in plan_numbers(self.io, inputs, forward=self.direction == "forward").items():
                setattr(struct, name, value)
            self._plans[where] = torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)
        return self._plans[where]

    def __getstate__(self) -> dict[str, Any]:
        # Prepared calls hold addresses: a copy makes its own.
        return {**self.__dict__, "_prepared": {}, "_plans": {}, "wires": None}


class _Prepared:
    """What calls of one shape on one device have in common; used by one call at a time."""

    def __init__(self, owner: Product, array: Readable, x: Tensor) -> None:
        numbers = plan_numbers(owner.io, x.shape[-1], forward=owner.direction == "forward")
        batch, sections = x.shape[-2], numbers["sections"]
        self.program, self.plan = mvm_program(x.device.type), owner.plan(x.device, x.shape[-1])
        self.args = _shaped(owner.direction, array, batch)
        args, lead = self.args, (array.lanes,) if array.lanes > 1 else ()
        args.plan = self.plan.data_ptr()
        self.y_shape = (*lead, batch, args.n_out)
        self.v_shape = (*lead, sections * batch, args.n_in)
        self.z_shape = (*lead, sections * batch, args.n_out) if sections > 1 else None
        self.scales = args.items * (1 + 2 * numbers["passes"])
        self.groups = _groups(numbers, batch, asymmetric=owner.asymmetry is not None)
        on_cpu, size = x.device.type == "cpu", args.items * sections * (args.n_in + args.n_out)
        self.alone = owner.exact or (on_cpu and args.items * sections * args.n_in * args.n_out <= SMALL_PRODUCT)
        self.alone = self.alone and owner.wires is None
        # For few vectors, or back from few outputs, a kernel of our own, in its own fixed order, is faster than torch.
        short = batch <= MOST_ROWS or (owner.direction == "backward" and args.n_in <= MOST_ROWS)
        plain = on_cpu and sections == 1 and owner.asymmetry is None and owner.wires is None
        self.in_rows = plain and (owner.exact or short)
        # Several vectors for each of a batch: with weights laid out once for all of them faster than torch, too.
        self.in_panels = on_cpu and sections > 1 and owner.asymmetry is None and owner.wires is None
        self.one_thread = size < ONE_THREAD
        self.kept = self._space(x.device) if on_cpu and size <= KEPT_NUMBERS else None
        self.pointed: Any = None

    def run(
        self, owner: Product, array: Readable, x: Tensor, numbers: tuple[int, int, int], y: Tensor | None
    ) -> Tensor:
        """Fills in what changes from call to call (`numbers`: call, stream, first vector) and starts the kernels."""
        args, run, weight = self.args, self.program.run, weight_of(array)
        y = x.new_empty(self.y_shape) if y is None else y
        args.call, args.stream, args.first = numbers
        args.x, args.w, args.y, args.control = x.data_ptr(), weight.data_ptr(), y.data_ptr(), control_of(array)
        v, z, scales = space = self.kept or self._space(x.device)
        if space is not self.pointed:
            args.v, args.alpha, args.sums = v.data_ptr(), scales.data_ptr(), scales.data_ptr() + 4 * args.items
            self.pointed = self.kept
        args.z = args.y if z is None else z.data_ptr()
        own = own_of(array)
        args.own = None if own is None else own.data_ptr()
        threads = torch.get_num_threads()
        if owner.perfect:
            args.v = args.x
            run("mvm_product", args, threads=threads, warp=True)
            return _scaled(y, owner.io.out_scale)
        if owner.lasting:
            self._fill_lasting(owner)
        few = 1 if self.one_thread else threads
        if self.in_rows and own is None:
            run("mvm_rows", args, threads=threads)
            return y
        if self.alone:
            run("mvm_whole", args, threads=few, warp=True)
            return y
        if self.in_panels and own is None:
            run("mvm_panels", args, threads=few)
            return y
        run("mvm_input", args, threads=few, warp=True)
        if own is None:
            self._multiply(owner, weight, v, y if z is None else z)
        else:
            run("mvm_product", args, threads=threads, warp=True)
        run("mvm_output", args, threads=few, warp=True)
        return y

    def _space(self, where: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
        """Converted inputs, products where they are not the outputs themselves, and scales."""
        z = None if self.z_shape is None else torch.empty(self.z_shape, device=where)
        return torch.empty(self.v_shape, device=where), z, torch.empty(self.scales, device=where)

    def _fill_lasting(self, owner: Product) -> None:
        """Addresses of what outlasts a call; the running average moves on by this one."""
        args = self.args
        for name in owner.lasting:
            setattr(args, name, getattr(owner, name).data_ptr())
        if owner.average is not None:
            items, args.items = args.items, args.lanes
            self.program.run("mvm_average", args, threads=1, warp=True)
            args.items = items

    def _multiply(self, owner: Product, weight: Tensor, v: Tensor, z: Tensor) -> None:
        """The digital products of all sections, as many of them at once as meet the same weights."""
        if owner.wires is not None:
            owner.wires.multiply(v, z)
            return
        weight = weight.detach()
        multiply = torch.bmm if weight.dim() == 3 else torch.mm
        if len(self.groups) == 1:
            multiply(v, weight.mT if owner.direction == "forward" else weight, out=z)
            return
        for first, last, asymmetric, absolute in self.groups:
            w = weight * owner.asymmetry if asymmetric and owner.asymmetry is not None else weight
            w = w.abs() if absolute else w
            multiply(v[..., first:last, :], w.mT if owner.direction == "forward" else w, out=z[..., first:last, :])


def weight_of(array: Any) -> Tensor:
    """The weights to read; of a module past its own search for attributes, which takes longer than a small product."""
    own = array.__dict__
    found: Tensor = own["_parameters"]["weight"] if "_parameters" in own else array.weight
    return found


def control_of(array: Any) -> int:
    """Address of the control block, found the same way."""
    found: Tensor | None = array.__dict__.get("_buffers", {}).get("control")
    return (array.control if found is None else found).data_ptr()  # type: ignore[no-any-return]


def _shaped(direction: str, array: Readable, batch: int) -> Any:
    """The argument struct with its sizes."""
    args = read_struct("periphery.cuh", "MvmArgs")()
    args.items, args.lanes, args.batch = array.lanes * batch, array.lanes, batch
    if direction == "forward":
        args.n_in, args.n_out, args.w_out, args.w_in = array.in_size, array.out_size, array.in_size, 1
    else:
        args.n_in, args.n_out, args.w_out, args.w_in = array.out_size, array.in_size, 1, array.in_size
    return args


def _groups(numbers: dict[str, Any], batch: int, *, asymmetric: bool) -> list[tuple[int, int, bool, bool]]:
    """Rows that meet the same weights: first and last row, whether with the asymmetry, whether with absolute values."""
    passes, signed, absolute = (numbers[name] for name in ("passes", "signed_kinds", "absolute_kinds"))
    ends = [signed, passes * signed, passes * signed + absolute, numbers["sections"]]
    kinds = [(asymmetric, False), (False, False), (asymmetric, True), (False, True)]
    if not asymmetric:
        ends, kinds = [passes * signed, numbers["sections"]], [(False, False), (False, True)]
    starts = [0, *ends[:-1]]
    return [(batch * a, batch * b, *kind) for a, b, kind in zip(starts, ends, kinds, strict=True) if b > a]


def _lasting(owner: Product, array: Readable) -> dict[str, Tensor | None]:
    """Running average [L], spreads of the outputs [L, 4, O] and of the weights, where the settings need them."""
    args, weight = _shaped(owner.direction, array, 1), array.weight.data
    where, program, lanes = weight.device, mvm_program(weight.device.type), array.lanes
    averages = owner.io.noise_management == "AverageAbsMax" and not owner.perfect
    average = torch.full((lanes,), -1.0, device=where) if averages else None
    frozen = torch.empty(lanes, SPREADS, args.n_out, device=where) if has_spreads(owner.io) else None
    asymmetry = torch.empty_like(weight) if has_asymmetry(owner.io) else None
    # Both directions draw from the key of the array.
    args.call = int(owner.direction == "backward")
    fill(args, ("control", "plan"), (array.control, owner.plan(where, args.n_in)))
    for name, tensor, items in (("mvm_freeze", frozen, lanes), ("mvm_freeze_weights", asymmetry, weight.numel())):
        if tensor is not None:
            args.items, args.frozen, args.asymmetry = items, tensor.data_ptr(), tensor.data_ptr()
            program.run(name, args, threads=1)
    return {"average": average, "frozen": frozen, "asymmetry": asymmetry}


def _scaled(y: Tensor, scale: float) -> Tensor:
    return y if scale == 1.0 else y * scale


def own_of(array: Readable) -> Tensor | None:
    """What makes the weights of each vector its own, or None; the arrays of tiles never have it."""
    found: Tensor | None = array.__dict__.get("own")
    return found
