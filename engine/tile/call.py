"""One call of an analog product: which kernels run, in which memory, and what calls of one shape
have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.jit.programs import mvm_program
from engine.jit.struct import read_struct
from engine.tile.periphery import plan_numbers

if TYPE_CHECKING:
    from engine.tile.mvm import Product

# Below so many numbers a second thread costs more than it saves.
ONE_THREAD = 8192
# So few multiplications are left to the kernels around them: a call of torch takes longer.
SMALL_PRODUCT = 1 << 17
MOST_ROWS = 64
# Vectors between kernels are kept from call to call while they are small; larger ones would add up
# over the tiles.
KEPT_NUMBERS = 1 << 18


class Readable(Protocol):
    """What has weights [.., O, I] to read, and a key for the noise."""

    out_size: int
    in_size: int
    lanes: int

    @property
    def weight(self) -> Tensor: ...

    @property
    def control(self) -> Tensor: ...


class Draws(NamedTuple):
    """What the noise of a call is drawn from: address of the control block, call, stream, first
    vector."""

    control: int
    call: int
    stream: int
    first: int


class Call:
    """What calls of one shape on one device have in common; used by one call at a time."""

    def __init__(self, owner: Product, array: Readable, x: Tensor) -> None:
        numbers = plan_numbers(owner.io, x.shape[-1], forward=owner.direction == "forward")
        batch, sections = x.shape[-2], numbers["sections"]
        self.program, self.plan = mvm_program(x.device.type), owner.plan(x.device, x.shape[-1])
        self.args = shaped(owner.direction, array, batch)
        args, lead = self.args, (array.lanes,) if array.lanes > 1 else ()
        args.plan = self.plan.data_ptr()
        self.y_shape = (*lead, batch, args.n_out)
        self.v_shape = (*lead, sections * batch, args.n_in)
        self.z_shape = (*lead, sections * batch, args.n_out) if sections > 1 else None
        self.scales = args.items * (1 + 2 * numbers["passes"])
        self.groups = _groups(numbers, batch, asymmetric=owner.asymmetry is not None)
        on_cpu, size = x.device.type == "cpu", args.items * sections * (args.n_in + args.n_out)
        self.alone = owner.exact or (
            on_cpu and args.items * sections * args.n_in * args.n_out <= SMALL_PRODUCT
        )
        self.alone = self.alone and owner.wires is None
        # For few vectors, or back from few outputs, a kernel of our own, in its own fixed order, is
        # faster than torch.
        short = batch <= MOST_ROWS or (owner.direction == "backward" and args.n_in <= MOST_ROWS)
        plain = on_cpu and sections == 1 and owner.asymmetry is None and owner.wires is None
        self.in_rows = plain and (owner.exact or short)
        # Several vectors for each of a batch: with weights laid out once for all of them faster
        # than torch, too.
        self.in_panels = on_cpu and sections > 1 and owner.asymmetry is None and owner.wires is None
        self.one_thread = size < ONE_THREAD
        self.kept = self._space(x.device) if on_cpu and size <= KEPT_NUMBERS else None
        self.pointed: Any = None

    def run(
        self,
        owner: Product,
        array: Readable,
        x: Tensor,
        numbers: tuple[int, int, int],
        y: Tensor | None,
    ) -> Tensor:
        """Fills in what changes from call to call (`numbers`: call, stream, first vector) and
        starts the kernels."""
        args, run, weight = self.args, self.program.run, weight_of(array)
        y = x.new_empty(self.y_shape) if y is None else y
        args.call, args.stream, args.first = numbers
        args.x, args.w, args.y, args.control = (
            x.data_ptr(),
            weight.data_ptr(),
            y.data_ptr(),
            control_of(array),
        )
        v, z, scales = space = self.kept or self._space(x.device)
        if space is not self.pointed:
            args.v, args.alpha, args.sums = (
                v.data_ptr(),
                scales.data_ptr(),
                scales.data_ptr() + 4 * args.items,
            )
            self.pointed = self.kept
        args.z = args.y if z is None else z.data_ptr()
        own = own_of(array)
        args.own = None if own is None else own.data_ptr()
        threads = torch.get_num_threads()
        if owner.perfect:
            args.v = args.x
            run("mvm_product", args, threads=threads, warp=True)
            return scaled(y, owner.io.out_scale)
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
            self._multiply(owner, weight, v, y if z is None else z, Draws(args.control, *numbers))
        else:
            run("mvm_product", args, threads=threads, warp=True)
        run("mvm_output", args, threads=few, warp=True)
        return y

    def _space(self, where: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
        """Converted inputs, products where they are not the outputs themselves, and scales."""
        z = (
            None
            if self.z_shape is None
            else torch.empty(self.z_shape, dtype=torch.float32, device=where)
        )
        return (
            torch.empty(self.v_shape, dtype=torch.float32, device=where),
            z,
            torch.empty(self.scales, dtype=torch.float32, device=where),
        )

    def _fill_lasting(self, owner: Product) -> None:
        """Addresses of what outlasts a call; the running average moves on by this one."""
        args = self.args
        for name in owner.lasting:
            setattr(args, name, getattr(owner, name).data_ptr())
        if owner.average is not None:
            items, args.items = args.items, args.lanes
            self.program.run("mvm_average", args, threads=1, warp=True)
            args.items = items

    def _multiply(self, owner: Product, weight: Tensor, v: Tensor, z: Tensor, draws: Draws) -> None:
        """The digital products of all sections, as many of them at once as meet the same
        weights."""
        if owner.wires is not None:
            owner.wires.multiply(v, z, draws)
            return
        weight = weight.detach()
        multiply = torch.bmm if weight.dim() == 3 else torch.mm
        if len(self.groups) == 1:
            multiply(v, weight.mT if owner.direction == "forward" else weight, out=z)
            return
        for first, last, asymmetric, absolute in self.groups:
            w = weight * owner.asymmetry if asymmetric and owner.asymmetry is not None else weight
            w = w.abs() if absolute else w
            multiply(
                v[..., first:last, :],
                w.mT if owner.direction == "forward" else w,
                out=z[..., first:last, :],
            )


def weight_of(array: Any) -> Tensor:
    """The weights to read; of a module past its own search for attributes, which takes longer than
    a small product."""
    own = array.__dict__
    found: Tensor = own["_parameters"]["weight"] if "_parameters" in own else array.weight
    return found


def control_of(array: Any) -> int:
    """Address of the control block, found the same way."""
    found: Tensor | None = array.__dict__.get("_buffers", {}).get("control")
    return (array.control if found is None else found).data_ptr()  # type: ignore[no-any-return]


def shaped(direction: str, array: Readable, batch: int) -> Any:
    """The argument struct with its sizes."""
    args = read_struct("periphery.cuh", "MvmArgs")()
    args.items, args.lanes, args.batch = array.lanes * batch, array.lanes, batch
    if direction == "forward":
        args.n_in, args.n_out, args.w_out, args.w_in = (
            array.in_size,
            array.out_size,
            array.in_size,
            1,
        )
    else:
        args.n_in, args.n_out, args.w_out, args.w_in = (
            array.out_size,
            array.in_size,
            1,
            array.in_size,
        )
    return args


def _groups(
    numbers: dict[str, Any], batch: int, *, asymmetric: bool
) -> list[tuple[int, int, bool, bool]]:
    """Rows that meet the same weights: first and last row, whether with the asymmetry, whether with
    absolute values."""
    passes, signed, absolute = (
        numbers[name] for name in ("passes", "signed_kinds", "absolute_kinds")
    )
    ends = [signed, passes * signed, passes * signed + absolute, numbers["sections"]]
    kinds = [(asymmetric, False), (False, False), (asymmetric, True), (False, True)]
    if not asymmetric:
        ends, kinds = [passes * signed, numbers["sections"]], [(False, False), (False, True)]
    starts = [0, *ends[:-1]]
    return [
        (batch * a, batch * b, *kind)
        for a, b, kind in zip(starts, ends, kinds, strict=True)
        if b > a
    ]


def scaled(y: Tensor, scale: float) -> Tensor:
    return y if scale == 1.0 else y * scale


def own_of(array: Readable) -> Tensor | None:
    """What makes the weights of each vector its own, or None; the arrays of tiles never have it."""
    found: Tensor | None = array.__dict__.get("own")
    return found
