"""Every way to make an analog product equals engine/kernels/mvm/reference.cu bit by bit, on both
backends; the one way that adds up in another order nearly does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.jit import source
from engine.jit.programs import Program, fill
from engine.jit.struct import read_constant
from engine.tile import launch, mvm
from engine.tile.cells import CellArray
from engine.tile.launch import BETWEEN, MvmLaunch, arguments
from engine.tile.mvm import STREAMS, Product
from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.strategies.mvm import MvmCase, MvmKernel, choose
from engine.tile.tile import Tile
from tests.exact.emulated_gpu import EmulatedProgram
from tests.exact.test_naive_mvm import CASES, IN, OUT, tile_of

# Kernels of a GPU also run on emulated ones, which takes longer: with settings that differ most.
BACKENDS = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
EMULATED = (
    "retried",
    "worst_case",
    "clearing",
    "sums",
    "stochastic",
    "pos_neg",
    "bit_wise",
)
BATCH = 20
EXACT = (MvmKernel.ROWS_CPU, MvmKernel.VECTOR, MvmKernel.STAGES_FIXED_ORDER)


def inputs(product: Product, tile: Tile) -> torch.Tensor:
    """Vectors of several sizes, one without input; several of them hit the bound of the ADC."""
    size = tile.array.in_size if product.forward_order else tile.array.out_size
    x = np.random.default_rng(9).normal(size=(BATCH, size)).astype(np.float32)
    x[1], x[2], x[3] = 0, -np.abs(x[2]), 3 * np.abs(x[3])
    return torch.from_numpy(x).to(tile.weight.device)


def reference(product: Product, tile: Tile, x: torch.Tensor) -> torch.Tensor:
    """What the reference kernel makes of x in the first call of a new tile."""
    case, array = product._case(x, tile.array), tile.array
    args = arguments(case)
    y, v = x.new_empty(len(x), case.n_out), torch.empty_like(x)
    alpha = x.new_empty(len(x))
    fill(args, ("x", "w", "y", "v", "alpha"), (x, array.weight.data, y, v, alpha))
    fill(args, ("control", "plan"), (array.control, product.plan(x.device, case.n_in)))
    args.call, args.stream = 1, STREAMS[product.direction, True]
    for name in product.lasting:
        setattr(args, name, getattr(product, name).data_ptr())
    program = Program(source.mvm_reference_text(x.device.type), x.device.type)
    if product.average is not None:
        average = product.average.clone()
        args.average, args.items = average.data_ptr(), 1
        program.run("mvm_average", args, threads=1, warp=True)
        args.items = len(x)
    program.run("mvm_reference", args, threads=1, warp=True)
    return y


def only(kernel: MvmKernel) -> Callable[[MvmCase], MvmKernel]:
    """A choice of one way to make products."""
    return lambda case: kernel


def fits(kernel: MvmKernel, io: IO, backend: str) -> bool:
    """Whether a way can make the product at all."""
    several = io.ir_drop > 0 or io.w_noise_type == "PCMRead" or io.mv_type != "OnePass"
    if kernel is MvmKernel.ROWS_CPU:
        return backend == "cpu" and not several
    if kernel is MvmKernel.PANELS_CPU:
        return backend == "cpu" and several and io.w_read_asymmetry_dtod == 0
    return True


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_ways_equal_the_reference(
    name: str, forward: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    io = IO(**CASES[name])
    with torch.device(backend):
        tile = tile_of(io)
    product = Product(io, "forward" if forward else "backward", tile.array)
    start = None if product.average is None else product.average.clone()
    x = inputs(product, tile)
    expected = reference(product, tile, x)
    for kernel in EXACT:
        if not fits(kernel, io, backend):
            continue
        monkeypatch.setattr(mvm, "choose", only(kernel))
        product._prepared.clear()
        if product.average is not None and start is not None:
            product.average.copy_(start)
        found = product.read(x, tile.array, call=1, training=True)
        assert torch.equal(found.view(torch.int32), expected.view(torch.int32)), kernel


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products take the kernels of a GPU, whose threads are fibers."""
    program = EmulatedProgram(source.mvm_text("cuda"))
    case = Product._case

    def on_gpu(self: Product, x: torch.Tensor, array: Any) -> MvmCase:
        return dataclasses.replace(case(self, x, array), on_cpu=False)

    monkeypatch.setattr(Product, "_case", on_gpu)
    monkeypatch.setattr(launch, "mvm_program", lambda device: program)
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 3)


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize("name", EMULATED)
def test_emulated_kernels_equal_the_reference(
    name: str, forward: bool, monkeypatch: pytest.MonkeyPatch, emulated: None
) -> None:
    io = IO(**CASES[name])
    tile = tile_of(io)
    product = Product(io, "forward" if forward else "backward", tile.array)
    product.exact = True
    x = inputs(product, tile)[1:4]
    expected = reference(product, tile, x)
    for kernel in (MvmKernel.VECTOR, MvmKernel.STAGES_FIXED_ORDER):
        monkeypatch.setattr(mvm, "choose", only(kernel))
        product._prepared.clear()
        found = product.read(x, tile.array, call=1, training=True)
        assert torch.equal(found.view(torch.int32), expected.view(torch.int32)), kernel


def test_emulated_reads_end_with_the_largest_reduction(
    emulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every read hits the bound, and none of its outputs may be looked at first.
    unbound: dict[str, Any] = {
        "noise_management": "None",
        "inp_bound": 0.0,
        "inp_res": 0.0,
    }
    clearing = {"bm_test_negative_bound": False, "bm_negative_hit_clears": True}
    io = IO(**unbound, **clearing, out_bound=0.5, max_bm_factor=1 << 30)
    tile = tile_of(io)
    tile.array.weight.data.abs_()
    product = Product(io, "forward", tile.array)
    product.exact = True
    x = 1e12 * torch.arange(1, 1 + 3 * IN).view(3, IN).float()
    expected = reference(product, tile, x)
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.STAGES_FIXED_ORDER))
    found = product.read(x, tile.array, call=1, training=True)
    assert torch.equal(found, expected)
    # A GPU has a list for each of these reads.
    assert float(expected.max()) == 0.5 * 2.0**31
    assert read_constant("mvm/args.cuh", "QUEUE_ROUNDS") > 31


@pytest.mark.parametrize("batch", [2, 20])
def test_emulated_products_have_the_order_of_a_cpu(
    batch: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    draw = np.random.default_rng(8)
    weights = torch.from_numpy(draw.normal(size=(67, 150)).astype(np.float32))
    found: list[torch.Tensor] = []
    for fixture in ("", "emulated"):
        if fixture:
            request.getfixturevalue(fixture)
        array = CellArray(67, 150, DeviceSpec("constant_step"), seed=8)
        array.weight.data.copy_(weights)
        for direction, width in (("forward", 150), ("backward", 67)):
            product = Product(IO(is_perfect=True), direction, array)
            product.exact = True
            x = torch.from_numpy(
                np.random.default_rng(batch).normal(size=(batch, width))
            )
            found.append(product.read(x.float(), array, call=1, training=True))
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])


def test_emulated_blocks_read_many_vectors_again(
    emulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[torch.Tensor] = []
    memory, counters = (
        MvmLaunch._memory,
        read_constant("mvm/args.cuh", "QUEUE_COUNTERS"),
    )

    def watched(self: MvmLaunch, y: torch.Tensor) -> torch.Tensor:
        found = memory(self, y)
        if self.queues:
            first = self.places[BETWEEN.index("queue")]
            queued.append(found[first : first + 2 * counters].view(torch.int32))
        return found

    monkeypatch.setattr(MvmLaunch, "_memory", watched)
    # Torch makes the first products, tiles of 64 vectors and 128 outputs those of later reads.
    size = (70, 140, 96)
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.STAGES_TORCH))
    found = hitting("cpu", exact=False, size=size)
    rounds = [int(part[0]) for part in queued[0].view(2, counters)]
    # Enough vectors for tiles of a block. A look at their worst output tells how often they must be
    # read again: all outputs are made once.
    assert rounds[0] > read_constant("mvm/gpu/reread.cu", "MAX_WARP_TILE_VECTORS")
    assert rounds[1] == 0
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.STAGES_FIXED_ORDER))
    expected = hitting("cpu", exact=True, size=size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["pcm_read", "ir_drop", "split"])
def test_panels_are_close_to_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without an ADC a rounding error stays one.
    io = IO(**(CASES[name] | {"out_res": 0.0, "bound_management": "None"}))
    tile = tile_of(io)
    product = Product(io, "forward", tile.array)
    x = inputs(product, tile)
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.PANELS_CPU))
    found = product.read(x, tile.array, call=1, training=True)
    torch.testing.assert_close(found, reference(product, tile, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["pcm_read", "ir_drop", "split", "several"])
def test_emulated_blocks_equal_the_panels_of_a_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Forward both add up one sum through the inputs, for all sections."""
    several = {"ir_drop": 1.0, "w_noise": 0.0175, "w_noise_type": "PCMRead"}
    io = IO(**(CASES.get(name, several) | {"bound_management": "None"}))
    tile = tile_of(io)
    product = Product(io, "forward", tile.array)
    x = inputs(product, tile)
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.PANELS_CPU))
    expected = product.read(x, tile.array, call=1, training=True)
    request.getfixturevalue("emulated")
    product._prepared.clear()
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.STAGES_BLOCKS))
    found = product.read(x, tile.array, call=1, training=True)
    assert torch.equal(found.view(torch.int32), expected.view(torch.int32))


def case(**changes: Any) -> MvmCase:
    """A product of the default periphery with a matrix of middle size."""
    plain: dict[str, Any] = {
        "on_cpu": True, "forward": True, "replicas": 1, "batch": 100, "n_in": IN, "n_out": OUT,
        "sections": 1, "perfect": False, "exact": False, "wires": False, "asymmetric": False,
        "per_sample": False,
    }  # fmt: skip
    return MvmCase(**(plain | changes))


CHOICES = {
    MvmKernel.TORCH: {"perfect": True},
    MvmKernel.FIXED_ORDER: {"perfect": True, "exact": True},
    MvmKernel.ROWS_CPU: {"batch": 4, "n_in": 784, "n_out": 256},
    MvmKernel.VECTOR: {"asymmetric": True, "exact": True},
    MvmKernel.PANELS_CPU: {"sections": 4},
    MvmKernel.STAGES_FIXED_ORDER: {
        "on_cpu": False,
        "exact": True,
        "n_in": 784,
        "n_out": 256,
    },
    MvmKernel.STAGES_BLOCKS: {
        "on_cpu": False,
        "sections": 4,
        "n_in": 784,
        "n_out": 256,
    },
    MvmKernel.STAGES_WIRES: {"wires": True},
    MvmKernel.STAGES_TORCH: {"on_cpu": False, "n_in": 784, "n_out": 256},
}


def test_each_way_is_chosen_for_something() -> None:
    assert set(CHOICES) == set(MvmKernel)
    for kernel, changes in CHOICES.items():
        assert choose(case(**changes)) is kernel


def hitting(backend: str, exact: bool, size: tuple[int, int, int]) -> torch.Tensor:
    """B vectors through a tile, most of which are read again, some of them often."""
    io = IO(out_bound=2.0, out_res=0.0, out_noise=0.0, inp_res=1 / 126)
    draw, (batch, outputs, width) = np.random.default_rng(7), size
    with torch.device(backend):
        tile = Tile(outputs, width, TileSpec(forward=io), seed=3)
    weights = draw.normal(scale=0.4, size=(outputs, width)).astype(np.float32)
    tile.array.set_weights(torch.from_numpy(weights))
    tile.set_exact(exact)
    strength = np.exp(draw.uniform(-4, 1, (batch, 1)))
    x = (strength * draw.normal(size=(batch, width))).astype(np.float32)
    return tile.mvm(torch.from_numpy(x).to(tile.weight.device)).cpu()


@pytest.mark.gpu
def test_a_gpu_reads_many_vectors_again(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (150, 300, 512)
    expected = hitting("cpu", exact=True, size=size)
    assert torch.equal(hitting("cuda", exact=True, size=size), expected)
    monkeypatch.setattr(mvm, "choose", only(MvmKernel.STAGES_TORCH))
    found = hitting("cuda", exact=False, size=size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("size", [(67, 33), (300, 513), (5, 1200)])
def test_a_gpu_multiplies_forward_and_back_in_the_order_of_a_cpu(
    size: tuple[int, int], replicas: int
) -> None:
    draw = np.random.default_rng(8)
    lead = (replicas,) if replicas > 1 else ()
    weights = torch.from_numpy(draw.normal(size=(*lead, *size)).astype(np.float32))
    for batch in (1, 2, 7, 70):
        found = []
        for backend in ("cpu", "cuda"):
            with torch.device(backend):
                array = CellArray(
                    *size, DeviceSpec("constant_step"), seed=8, lanes=replicas
                )
            array.weight.data.copy_(weights)
            for direction in ("forward", "backward"):
                product = Product(IO(is_perfect=True), direction, array)
                product.exact = True
                width = size[direction == "forward"]
                seed = np.random.default_rng(batch)
                x = torch.from_numpy(
                    seed.normal(size=(*lead, batch, width)).astype(np.float32)
                )
                found.append(
                    product.read(x.to(backend), array, call=1, training=True).cpu()
                )
        assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
