"""The kernels of one analog product: their arguments, their memory, and one function for each.

A launch is prepared for one shape of inputs and one way to make the product (`strategies.mvm`), and
serves all products of that kind. Shapes: B vectors, I inputs, O outputs, S sections.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.jit.cuda import multiprocessors
from engine.jit.programs import mvm_program
from engine.jit.struct import choice, read_constant, read_struct, words
from engine.tile.strategies.mvm import MvmCase, MvmKernel

ARGS = "mvm/args.cuh"
# Pointers to memory between the kernels of a product.
BETWEEN = ("v", "z", "alpha", "sums", "retry", "queue")
QUEUE_SIZE = read_constant(ARGS, "QUEUE_SIZE")
RETRY_WORDS = words("mvm/bounds.cuh", "Retry")
AVERAGE = choice(ARGS, "NoiseManagement", "AverageAbsMax")
TILE_VECTORS, TILE_OUTPUTS = (
    read_constant("mvm/gpu/product.cuh", name)
    for name in ("TILE_VECTORS", "TILE_OUTPUTS")
)
BLOCK_VECTORS, BLOCK_OUTPUTS = (
    read_constant("mvm/gpu/block_tile.cuh", name)
    for name in ("BLOCK_VECTORS", "BLOCK_OUTPUTS")
)
# A CPU keeps the memory between kernels from call to call while it is small; larger parts would add
# up over the tiles.
KEPT_NUMBERS = 1 << 18
# Below so many numbers a second thread of a CPU costs more than it saves.
ONE_THREAD = 8192
# Numbers that a warp works on at once, and numbers of a cache line.
BLOCK, LINE = 128, 16
# Warps of a block at most, and warps with which a large GPU is full.
MAX_WARPS, FULL_GPU = 8, 8192
# So few multiplications take as long as the way to memory and back. Fewer tiles of blocks than this
# leave most of a GPU idle.
LATENCY_BOUND, MIN_BLOCKS = 1 << 22, 64


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
    """What random numbers of a call depend on: address of the control block, call, stream, and the
    place of the first vector in its batch."""

    control: int
    call: int
    stream: int
    first: int


class Operands(NamedTuple):
    """What one product is made of, and where it goes."""

    x: Tensor
    array: Readable
    # Where to write, or None for a new tensor.
    y: Tensor | None
    # call, stream, place of the first vector in its batch
    numbers: tuple[int, int, int]


# The digital products of all sections: inputs v [S B, I], weights, products z [S B, O], numbers.
Multiply = Callable[[Tensor, Tensor, Tensor, Draws], None]


class KernelCall(NamedTuple):
    """A kernel, over how many items, and how a processor runs it (see Program.run)."""

    name: str
    items: int
    threads: int | None = None
    warp: bool = False
    warps: int = 0


class MvmLaunch:
    """Preallocated arguments and buffers for one input shape (not reentrant)."""

    def __init__(
        self, case: MvmCase, kernel: MvmKernel, plan: Tensor, settings: dict[str, Any]
    ) -> None:
        self.case, self.plan = case, plan
        self.program = mvm_program(plan.device.type)
        self.args = arguments(case)
        self.args.plan = plan.data_ptr()
        self.items = case.replicas * case.batch
        self.plain = "_plain" if settings["plain"] else ""
        lead = (case.replicas,) if case.replicas > 1 else ()
        rows = case.sections * case.batch
        self.y_shape = (*lead, case.batch, case.n_out)
        self.v_shape, self.z_shape = (*lead, rows, case.n_in), (*lead, rows, case.n_out)
        # Bound management on a GPU collects the vectors that are read again.
        self.queues = not case.on_cpu and settings["bound_management"] != 0
        products = math.prod(self.z_shape) if case.sections > 1 else 0
        queue = (0, 0)
        if self.queues:
            queue = (RETRY_WORDS * self.items, QUEUE_SIZE + 2 * self.items)
        # Converted inputs, products where they are not the outputs, scales, sums of the passes, how
        # far bound management is with each vector, and its queue.
        sums = 2 * self.items * settings["passes"]
        self.places = _places(
            [math.prod(self.v_shape), products, self.items, sums, *queue]
        )
        size = case.replicas * rows * (case.n_in + case.n_out)
        self.threads = 1 if size < ONE_THREAD else None
        self.keeps = case.on_cpu and size <= KEPT_NUMBERS
        self.memory: Tensor | None = None
        self.alone = kernel is MvmKernel.FIXED_ORDER
        before, after = self._calls(kernel)
        if settings.get("noise_management") == AVERAGE:
            before = (self.average(), *before)
        self.before, self.after = self._prepared(before), self._prepared(after)
        # What is left to the caller between the two.
        self.multiplies = kernel in (MvmKernel.STAGES_TORCH, MvmKernel.STAGES_WIRES)

    def run(
        self, operands: Operands, lasting: dict[str, Tensor], multiply: Multiply
    ) -> Tensor:
        """Makes the product; `lasting` are the tensors that outlast a call, by their names in the
        arguments."""
        args, (x, array, y, numbers) = self.args, operands
        y = x.new_empty(self.y_shape) if y is None else y
        args.call, args.stream, args.first = numbers
        weight, control = weight_of(array), control_of(array)
        args.x, args.w, args.y, args.control = (
            x.data_ptr(),
            weight.data_ptr(),
            y.data_ptr(),
            control,
        )
        per_sample = per_sample_of(array)
        args.per_sample = None if per_sample is None else per_sample.data_ptr()
        if self.alone:
            args.v, args.z = args.x, args.y
        else:
            memory = self._memory(y)
        for name, tensor in lasting.items():
            setattr(args, name, tensor.data_ptr())
        for start in self.before:
            start()
        if self.multiplies:
            v, z = self._vectors(memory, y)
            multiply(v, weight.detach(), z, Draws(control, *numbers))
        for start in self.after:
            start()
        return y

    def _prepared(self, calls: Sequence[KernelCall]) -> list[Callable[[], None]]:
        """What starts these kernels."""
        prepare, args = self.program.prepare, self.args
        return [
            prepare(name, args, items, threads=threads, warp=warp, warps=warps)
            for name, items, threads, warp, warps in calls
        ]

    def _calls(
        self, kernel: MvmKernel
    ) -> tuple[tuple[KernelCall, ...], tuple[KernelCall, ...]]:
        """The kernels before and after a product that is left to the caller."""
        if kernel is MvmKernel.FIXED_ORDER:
            return (self.product(),), ()
        if kernel is MvmKernel.ROWS_CPU:
            return (self.rows(),), ()
        if kernel is MvmKernel.PANELS_CPU:
            return (self.panels(),), ()
        if kernel is MvmKernel.VECTOR:
            return (self.vectors(),), ()
        before: tuple[KernelCall, ...] = (self.input_stage(),)
        if kernel is MvmKernel.STAGES_FIXED_ORDER:
            before = (*before, self.product())
        if kernel is MvmKernel.STAGES_BLOCKS:
            before = (*before, self.product_blocks())
        return before, (
            self.output_stage(),
            *([self.read_again()] if self.queues else []),
        )

    # One function for each kernel of engine/kernels/mvm.

    def average(self) -> KernelCall:
        """The running average of the input scale moves on by this batch."""
        return KernelCall("mvm_average", self.case.replicas, threads=1, warp=True)

    def input_stage(self) -> KernelCall:
        """Scales and converts the inputs."""
        warps = self._warps(self.case.n_in)
        return KernelCall(
            f"mvm_input{self.plain}", self.items, self.threads, warps=warps
        )

    def output_stage(self) -> KernelCall:
        """Converts the products; on a CPU also makes the reads of bound management, which a GPU
        queues."""
        warps, queued = (
            self._warps(self.case.n_out),
            "" if self.case.on_cpu else "_queued",
        )
        name = f"mvm_output{queued}{self.plain}"
        return KernelCall(name, self.items, self.threads, warps=warps)

    def read_again(self) -> KernelCall:
        """Reads the queued vectors again until none hits the bound, with a block for each
        multiprocessor."""
        blocks = multiprocessors(self.plan.device.index)
        return KernelCall("mvm_read_again", blocks, warps=MAX_WARPS)

    def product(self) -> KernelCall:
        """Products of all sections in a fixed order."""
        case = self.case
        if case.on_cpu or case.per_sample:
            return KernelCall("mvm_product", self.items, warps=MAX_WARPS)
        if case.forward or self._blocks() < MIN_BLOCKS:
            return self.product_tiles()
        return self.product_blocks()

    def product_tiles(self) -> KernelCall:
        """Products in a fixed order, of a few vectors with a few outputs at once."""
        case = self.case
        # Where a GPU waits for memory rather than for its bandwidth, more warps are better.
        single = case.batch <= 2 or case.multiplications <= LATENCY_BOUND
        vectors = 1 if single else TILE_VECTORS
        outputs = TILE_OUTPUTS if case.forward else 32
        tiles = -(-case.n_out // outputs) * -(-case.batch // vectors)
        name = "mvm_product_tiles_single" if single else "mvm_product_tiles"
        return KernelCall(name, tiles * case.sections * case.replicas, warp=True)

    def product_blocks(self) -> KernelCall:
        """Products of many vectors whose sums run through the inputs in order."""
        return KernelCall("mvm_product_blocks", self._blocks(), warps=MAX_WARPS)

    def vectors(self) -> KernelCall:
        """All stages of each vector."""
        outputs = TILE_OUTPUTS if self.case.forward else 32
        size = max(self.case.n_in, BLOCK * self.case.n_out // outputs)
        # Registers allow fewer warps than with the stages alone.
        most = min(
            2 * MAX_WARPS if self.plain else MAX_WARPS, FULL_GPU // 4 // self.items
        )
        warps = self._warps(size, max(1, most))
        return KernelCall(
            f"mvm_vector{self.plain}", self.items, self.threads, warps=warps
        )

    def rows(self) -> KernelCall:
        """All stages; products in blocks of vectors and rows of weights."""
        return KernelCall("mvm_rows", self.items)

    def panels(self) -> KernelCall:
        """All stages; products with the weights of 64 outputs laid out."""
        return KernelCall("mvm_panels", self.items, self.threads)

    def _blocks(self) -> int:
        """Tiles of a block that all products take."""
        case = self.case
        tiles = -(-case.n_out // BLOCK_OUTPUTS) * -(-case.batch // BLOCK_VECTORS)
        return tiles * case.sections * case.replicas

    def _warps(self, size: int, most: int = 0) -> int:
        return warps_of(self.items, size, most or MAX_WARPS)

    def _memory(self, y: Tensor) -> Tensor:
        """Points the arguments to memory for what lies between kernels."""
        if self.memory is not None:
            self.args.z = self.args.y if self.case.sections == 1 else self.args.z
            return self.memory
        memory = torch.empty(self.places[-1], dtype=torch.float32, device=y.device)
        args, begin = self.args, memory.data_ptr()
        for name, place in zip(BETWEEN, self.places, strict=False):
            setattr(args, name, begin + 4 * place)
        if not self.queues:
            args.retry = args.queue = None
        if self.case.sections == 1:
            args.z = args.y
        self.memory = memory if self.keeps else None
        return memory

    def _vectors(self, memory: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Converted inputs and products as torch sees them. Products of one section are written
        where the outputs go."""
        v = memory[: math.prod(self.v_shape)].view(self.v_shape)
        if self.case.sections == 1:
            return v, y
        first = self.places[1]
        return v, memory[first : first + math.prod(self.z_shape)].view(self.z_shape)


def warps_of(items: int, size: int, most: int = MAX_WARPS) -> int:
    """Warps of a GPU for each of `items` vectors of `size` numbers: as many as it has blocks of
    numbers, while there are not enough vectors to fill the GPU."""
    return max(1, min(most, -(-size // BLOCK), FULL_GPU // max(items, 1)))


def _places(sizes: list[int]) -> list[int]:
    """Where parts of these sizes begin, aligned to a cache line, and where the last one ends."""
    return list(
        itertools.accumulate((-(-size // LINE) * LINE for size in sizes), initial=0)
    )


def weight_of(array: Any) -> Tensor:
    """The weights to read. Bypasses nn.Module.__getattr__: it costs more than a small product."""
    held = array.__dict__
    found: Tensor = (
        held["_parameters"]["weight"] if "_parameters" in held else array.weight
    )
    return found


def control_of(array: Any) -> int:
    """Address of the control block, found the same way."""
    found: Tensor | None = array.__dict__.get("_buffers", {}).get("control")
    return (array.control if found is None else found).data_ptr()  # type: ignore[no-any-return]


def per_sample_of(array: Readable) -> Any:
    """How weights are disturbed anew for each vector, or None; the arrays of tiles never are."""
    return array.__dict__.get("per_sample")


def arguments(case: MvmCase) -> Any:
    """The argument struct with its sizes."""
    args = read_struct(ARGS, "MvmArgs")()
    args.items, args.replicas, args.batch = (
        case.replicas * case.batch,
        case.replicas,
        case.batch,
    )
    args.n_in, args.n_out, args.exact = case.n_in, case.n_out, int(case.exact)
    args.w_out, args.w_in = (case.n_in, 1) if case.forward else (1, case.n_out)
    return args
