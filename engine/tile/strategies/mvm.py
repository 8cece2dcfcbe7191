"""The ways to make one analog product (MVM), and which of them a product takes.

`STRATEGIES` is the whole decision: the first entry that fits is taken. All of them compute what
engine/kernels/mvm/reference.cu defines; those that do not leave the digital product to torch equal
it bit by bit, but for PANELS_CPU and STAGES_BLOCKS, which add up forward products in another order:
one sum through the inputs, with the same bits on both processors.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

# A CPU needs less time for a product of so few multiplications than a call of torch.
SMALL_PRODUCT_CPU = 1 << 17
# Up to so many vectors, or inputs of a backward product, rows on a CPU are faster than torch.
FEW_VECTORS_CPU = 64
# A GPU makes a whole read of a vector in one block while its weights and all multiplications are so
# few. Backward each warp takes 32 outputs, through all inputs in order: these must be fewer.
SMALL_MATRIX_GPU = 1 << 16
SMALL_PRODUCT_GPU, SMALL_BACKWARD_GPU = 1 << 23, 1 << 22
SHORT_ROWS_GPU = 64
# Up to so many vectors, through a matrix of so many weights, cuBLAS takes several times as long as
# mvm_product_tiles (10 x 256 x 784: 30 us, 5 us): it picks kernels that are made for many.
FEW_VECTORS_GPU = 16
FEW_WEIGHTS_GPU = 1 << 19
# Products of several sections that take a GPU less time than the host takes for a call of torch for
# each kind of weights and for their absolute values. Blocks have 64 vectors each, and a sum passes
# through all inputs of one thread.
BLOCKS_MIN_VECTORS, BLOCKS_MAX_INPUTS = 32, 1024
BLOCKS_MAX_PRODUCT = 1 << 30


class MvmKernel(enum.Enum):
    """What makes a product: a kernel, or which kernels after one another."""

    TORCH = "torch's matrix product alone"
    FIXED_ORDER = "a product in a fixed order alone"
    VECTOR = "mvm_vector: all stages of a vector by one thread (CPU) or one block (GPU)"
    ROWS_CPU = "mvm_rows: products in blocks of four vectors and four rows of weights"
    PANELS_CPU = (
        "mvm_panels: products with 64 outputs' weights laid out for all vectors"
    )
    STAGES_TORCH = "mvm_input, torch's products of all sections, mvm_output"
    STAGES_FIXED_ORDER = "mvm_input, products in a fixed order, mvm_output"
    STAGES_BLOCKS = "mvm_input, mvm_product_blocks for all sections, mvm_output"
    STAGES_WIRES = "mvm_input, the product of wires with voltage drop, mvm_output"


@dataclass(frozen=True)
class MvmCase:
    """What decides how a product is made: its place, size and settings."""

    on_cpu: bool
    forward: bool
    replicas: int
    batch: int
    n_in: int
    n_out: int
    sections: int
    # An exact periphery, of which only the output scale remains.
    perfect: bool
    # Products must have a fixed order (run.exact).
    exact: bool
    # Weights lie on wires that drop voltage over time.
    wires: bool
    # Weights read differently where the input is negative.
    asymmetric: bool
    # Weights are disturbed anew for each vector.
    per_sample: bool

    @property
    def multiplications(self) -> int:
        """Of all vectors and sections."""
        return self.replicas * self.batch * self.sections * self.n_in * self.n_out

    @property
    def one_set_of_weights(self) -> bool:
        """Whether all vectors of a section are multiplied with the same weights as they are."""
        return not (self.wires or self.asymmetric or self.per_sample)

    @property
    def few_on_gpu(self) -> bool:
        """Whether cuBLAS would take several times as long as a kernel of our own."""
        few = (
            1 < self.batch <= FEW_VECTORS_GPU
            and self.n_in * self.n_out <= FEW_WEIGHTS_GPU
        )
        return not self.on_cpu and self.forward and few

    @property
    def blocks_on_gpu(self) -> bool:
        """Whether one kernel for all sections beats several calls of torch on a GPU."""
        fits = self.batch >= BLOCKS_MIN_VECTORS and self.n_in <= BLOCKS_MAX_INPUTS
        short = self.multiplications <= BLOCKS_MAX_PRODUCT
        return not self.on_cpu and self.sections > 1 and fits and short

    @property
    def small(self) -> bool:
        """Whether a whole read in one kernel beats the calls around torch's product."""
        if self.on_cpu:
            return self.multiplications <= SMALL_PRODUCT_CPU
        fits = self.n_in * self.n_out <= SMALL_MATRIX_GPU
        if self.forward:
            return fits and self.multiplications <= SMALL_PRODUCT_GPU
        most = (
            SMALL_BACKWARD_GPU
            if self.n_in <= SHORT_ROWS_GPU
            else SMALL_BACKWARD_GPU >> 3
        )
        return fits and self.multiplications <= most


class Strategy(NamedTuple):
    """One way to make a product, and the products that it is for."""

    kernel: MvmKernel
    fits: Callable[[MvmCase], bool]


STRATEGIES = (
    Strategy(MvmKernel.TORCH, lambda c: c.perfect and not (c.exact or c.per_sample)),
    Strategy(MvmKernel.FIXED_ORDER, lambda c: c.perfect),
    Strategy(MvmKernel.STAGES_WIRES, lambda c: c.wires),
    Strategy(
        MvmKernel.ROWS_CPU,
        lambda c: (
            c.on_cpu
            and c.sections == 1
            and c.one_set_of_weights
            and (
                c.exact
                or c.batch <= FEW_VECTORS_CPU
                or (not c.forward and c.n_in <= FEW_VECTORS_CPU)
            )
        ),
    ),
    Strategy(MvmKernel.VECTOR, lambda c: c.small or (c.exact and c.on_cpu)),
    Strategy(
        MvmKernel.PANELS_CPU,
        lambda c: c.on_cpu and c.sections > 1 and c.one_set_of_weights,
    ),
    Strategy(
        MvmKernel.STAGES_FIXED_ORDER, lambda c: c.exact or c.per_sample or c.few_on_gpu
    ),
    Strategy(MvmKernel.STAGES_BLOCKS, lambda c: c.blocks_on_gpu),
    Strategy(MvmKernel.STAGES_TORCH, lambda c: True),
)


def choose(case: MvmCase) -> MvmKernel:
    """How a product is made."""
    return next(strategy.kernel for strategy in STRATEGIES if strategy.fits(case))
