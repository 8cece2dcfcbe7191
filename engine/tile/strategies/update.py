"""The ways to apply pulses to the cells of an array, which of them an update takes, and a function
for each kernel.

`STRATEGIES` is the whole decision: the first entry that fits is taken. All of them leave the bits
of engine/kernels/update/reference.cu."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.jit.programs import Program, fill
from engine.jit.struct import read_constant, read_enum, words

EXACT = int(read_enum("trains/trains.cuh", "PulseType")["EXACT"])
GROUP, SPAN = (
    read_constant("trains/trains.cuh", name) for name in ("GROUP", "HIT_SPAN")
)
MASK_WORDS, GROUP_WORDS = (
    words("trains/trains.cuh", name) for name in ("SampleMask", "SampleGroup")
)
COUNTED_GROUPS = read_constant("trains/gpu/masks.cu", "COUNTED_GROUPS")
MEASURED = read_constant("trains/trains.cu", "MEASURED")
LISTED_CELLS = read_constant("update/gpu/thread_per_pulsed_cell.cu", "LISTED_CELLS")
WARP = 32
# Lines longer than this are measured by several warps a sample.
LONG_LINES = 1024
# Cells look for their coincidences by sample masks if there are at least so many samples: in an
# array of at most SPARSE_CELLS cells, and in any other. With fewer samples, or dense pulses on
# large arrays, warps of 32 cells are faster (measured on an H200: fcn, batch 64, 0.19 and 0.26 ms a
# step; lenet, batch 8, 0.49 and 0.40).
SPARSE_CELLS, SPARSE_SAMPLES, SPARSE_SAMPLES_ANY = 1 << 19, 256, 2048
# With so few groups of 32 samples a cell looks at all of them; otherwise they are listed.
UNLISTED_GROUPS = 8
# Threads that a few cells are spread over.
SPREAD_THREADS = 1 << 15
# A GPU is busy with so many warps; larger arrays give each warp several strips of a row.
BUSY_WARPS = 1 << 15


class UpdateKernel(enum.Enum):
    """What applies the pulses of an update."""

    EXACT = "update_exact: the outer product, without pulses"
    CPU = "pulsed_update: rows of cells on the threads of a CPU, plans and trains included"
    PULSED = "update_pulsed: a warp lists the cells of a row that one sample pulses"
    COINCIDENCES = "update_hits: a thread a cell goes from one coincidence to the next"
    STRIPS = "update_strips: a warp for 32 cells of a row"


@dataclass(frozen=True)
class UpdateCase:
    """What decides how pulses are applied."""

    on_cpu: bool
    exact: bool
    batch: int
    # Of all replicas.
    cells: int
    # Trains are there already, as words.
    made: bool = False

    @property
    def sparse(self) -> bool:
        """Whether most samples bring most cells nothing, as far as sizes can tell."""
        least = SPARSE_SAMPLES if self.cells <= SPARSE_CELLS else SPARSE_SAMPLES_ANY
        return not self.made and self.batch >= least


class Strategy(NamedTuple):
    """One way to apply pulses, and the updates that it is for."""

    kernel: UpdateKernel
    fits: Callable[[UpdateCase], bool]


STRATEGIES = (
    Strategy(UpdateKernel.EXACT, lambda c: c.exact),
    Strategy(UpdateKernel.CPU, lambda c: c.on_cpu),
    Strategy(UpdateKernel.PULSED, lambda c: c.batch == 1),
    Strategy(UpdateKernel.COINCIDENCES, lambda c: c.sparse),
    Strategy(UpdateKernel.STRIPS, lambda c: True),
)


def choose(case: UpdateCase) -> UpdateKernel:
    """The first strategy that fits."""
    return next(strategy.kernel for strategy in STRATEGIES if strategy.fits(case))


def case_of(program: Program, args: Any, *, made: bool = False) -> UpdateCase:
    """The case of a struct UpdateArgs or TransferArgs."""
    cells = args.replicas * args.rows * args.cols
    return UpdateCase(
        program.backend == "cpu", args.type == EXACT, args.batch, cells, made
    )


def run(program: Program, args: Any, where: torch.device) -> None:
    """One update: plans, trains and pulses."""
    kernel = choose(case_of(program, args))
    if kernel is UpdateKernel.CPU:
        _start(program, args, "pulsed_update", 0)
        return
    plan_samples(program, args, where)
    if kernel is UpdateKernel.COINCIDENCES:
        _pulse_coincidences(program, args, where)
        return
    if kernel is not UpdateKernel.EXACT:
        make_trains(program, args)
    _pulse(kernel, program, args)


def run_made(program: Program, args: Any) -> None:
    """The pulses of trains that are there, on all cells, or the exact outer product."""
    kernel = choose(case_of(program, args, made=True))
    if kernel is UpdateKernel.CPU:
        _start(program, args, "update_rows", 0)
    else:
        _pulse(kernel, program, args)


def plan_samples(program: Program, args: Any, where: torch.device) -> None:
    """Lengths and firing factors of the trains of all samples; freezes the control block."""
    samples, parts = args.replicas * args.batch, None
    args.maxima = None
    if measures_parts(program.backend, args):
        number = _blocks(args.rows, MEASURED) + _blocks(args.cols, MEASURED)
        parts = torch.empty(samples, number, dtype=torch.float32, device=where)
        args.maxima = parts.data_ptr()
        _start(program, args, "measure_samples", samples * number, warp=True)
    _start(program, args, "plan_samples", samples, warp=True)
    # Kernels run in order, so that what they read may be given back once they are started.
    del parts


def measures_parts(backend: str, args: Any) -> bool:
    """Whether several warps measure each sample."""
    return backend != "cpu" and max(args.rows, args.cols) > LONG_LINES


def make_trains(program: Program, args: Any) -> None:
    """The words of all lines, by plans that are made."""
    lines = _blocks(args.cols, WARP) + _blocks(args.rows, WARP)
    _start(program, args, "make_trains", args.replicas * args.batch * lines, warp=True)


def make_masks(program: Program, args: Any, where: torch.device) -> list[Tensor]:
    """Sample masks, windows, and the groups in which cells have coincidences, for plans that are
    made. The tensors that x_masks, d_masks, groups and hits of `args` point to afterwards."""
    replicas, cells, groups = (
        args.replicas,
        args.rows * args.cols,
        _blocks(args.batch, GROUP),
    )
    chunks = _blocks(groups, GROUP) if groups > UNLISTED_GROUPS else 0
    spans = _blocks(chunks, SPAN)
    made = [
        torch.empty(*shape, dtype=torch.int32, device=where)
        for shape in (
            (replicas, groups, args.cols, MASK_WORDS),
            (replicas, groups, args.rows, MASK_WORDS),
            (replicas, groups, GROUP_WORDS),
            (replicas, chunks + spans, cells),
        )
    ]
    fill(args, MASKS, made)
    lines = _blocks(args.cols, WARP) + _blocks(args.rows, WARP)
    _start(program, args, "make_masks", replicas * groups * lines, warp=True)
    if groups > COUNTED_GROUPS:
        _start(
            program, args, "mark_windows", replicas * _blocks(groups, GROUP), warp=True
        )
    if chunks:
        strips = args.rows * _blocks(args.cols, WARP)
        _start(program, args, "mark_hits", replicas * spans * strips, warp=True)
    return made


MASKS = ("x_masks", "d_masks", "groups", "hits")


def spread(cells: int) -> int:
    """Threads for each of so many cells, of which one works, so that cells of one warp wait less
    for each other while there are threads enough."""
    times = 1
    while times < WARP and 2 * times * cells <= SPREAD_THREADS:
        times *= 2
    return times


def _pulse_coincidences(program: Program, args: Any, where: torch.device) -> None:
    masks, cells = (
        make_masks(program, args, where),
        args.replicas * args.rows * args.cols,
    )
    args.spread = spread(cells)
    _start(program, args, "update_hits", cells * args.spread)
    del masks


def _pulse(kernel: UpdateKernel, program: Program, args: Any) -> None:
    """The kernels that go by words, or by none."""
    rows, warp = args.replicas * args.rows, True
    if kernel is UpdateKernel.PULSED:
        name, items = "update_pulsed", rows * _blocks(args.cols, LISTED_CELLS)
    elif kernel is UpdateKernel.STRIPS:
        name, items = "update_strips", rows * _strips(rows, args.cols)
    else:
        name, items, warp = "update_exact", rows * args.cols, False
    _start(program, args, name, items, warp=warp)


def _strips(rows: int, cols: int) -> int:
    """Warps for each row."""
    strips = _blocks(cols, WARP)
    while strips % 2 == 0 and rows * strips > BUSY_WARPS:
        strips //= 2
    return strips


def _start(
    program: Program, args: Any, name: str, items: int, *, warp: bool = False
) -> None:
    args.items = items
    program.run(name, args, warp=warp)


def _blocks(number: int, size: int) -> int:
    return -(-number // size)
