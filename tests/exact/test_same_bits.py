"""The same bits at any number of threads, with any compiler, by both loops of the update, and in
any lane."""

from __future__ import annotations

import functools
import importlib.util
import math
import shutil
import sys
from collections.abc import Iterator

import pytest
import torch

from engine.jit import cpu, source, unit
from engine.jit.programs import Program, array_program, fill, mvm_program
from engine.tile import pulses
from engine.tile.cells import CellArray
from engine.tile.settings import IO, DeviceSpec, TileSpec, Update
from engine.tile.strategies import update as update_kernels
from engine.tile.tile import Tile
from engine.tile.trains import draw_trains

DEVICES = {
    "constant_step": {},
    "linear_step": {"write_noise_std": 1.0, "gamma_up": 0.3},
    "soft_bounds": {"dw_min": 0.01},
    "exp_step": {"dw_min_std_add": 0.1},
}
LOOPS = (
    "update_reference",
    "update_strips/1",
    "update_strips/2",
    "update_hits",
    "update_hits/listed",
)
UPDATES = (
    Update(),
    Update(desired_bl=100, update_bl_management=False),
    Update(pulse_type="MeanCount"),
    Update(
        desired_bl=7,
        fixed_bl=False,
        update_management=False,
        update_bl_management=False,
        res=0.01,
        sto_round=True,
    ),
)
NOISY = IO(inp_noise=0.05, out_noise=0.1, inp_sto_round=True, out_bound=1.0)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def numbers(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * (
        torch.rand(*shape, generator=generator) < 0.6
    )


@functools.cache
def reference_program(model: str, layout: source.Layout, backend: str) -> Program:
    """The pulsed update as its definition has it, which no tile ever runs."""
    return Program(source.update_reference_text(model, layout), backend)


def update_as_a_gpu(
    array: CellArray, x: torch.Tensor, d: torch.Tensor, lr: float, u: Update, loop: str
) -> None:
    """The strategies that a GPU has, where the array is: `loop` is a kernel, for some with the
    number of its items a row."""
    array.set_lr(lr)
    plan = pulses._plan(u, array.granularity, lr, array.weight.device)
    words = max(1, math.ceil(plan.max_bl / pulses.SLOTS))
    args = pulses._args(array, x.shape[-2], words)
    args.type, args.lr_scale, args.call = (
        pulses.TYPES[u.pulse_type],
        1.0,
        array.next_call(),
    )
    space = pulses._space(array, x.shape[-2], words)
    fill(args, ("x", "d", "plan", *pulses._SPACE), (x, d, plan.tensor, *space))
    program = array.program()
    with pytest.MonkeyPatch.context() as patch:
        long = max(args.rows, args.cols) > update_kernels.LONG_LINES
        patch.setattr(update_kernels, "measures_parts", lambda *_: long)
        patch.setattr(
            update_kernels, "UNLISTED_GROUPS", 0 if loop.endswith("listed") else 1 << 30
        )
        update_kernels.plan_samples(program, args, array.weight.device)
        if loop.startswith("update_hits"):
            update_kernels._pulse_coincidences(program, args, array.weight.device)
            return
    update_kernels.make_trains(program, args)
    kernel, _, parts = loop.partition("/")
    if kernel == "update_reference":
        program = reference_program(
            array.spec.model, array.layout, array.weight.device.type
        )
    args.items = array.lanes * array.out_size * int(parts or array.in_size)
    program.run(kernel, args, threads=1)


def trained(
    model: str,
    size: tuple[int, int, int],
    *,
    threads: int = 1,
    loop: str = "",
    where: str = "cpu",
) -> CellArray:
    """An array after a few updates of every kind, and after time has passed."""
    torch.set_num_threads(threads)
    out, inputs, batch = size
    array = CellArray(
        out,
        inputs,
        DeviceSpec(model, DEVICES[model] | {"lifetime": 50.0, "diffusion": 0.001}),
        seed=3,
    ).to(where)
    for k, u in enumerate(UPDATES * 2):
        x = numbers(batch, inputs, seed=k).to(where)
        d = numbers(batch, out, seed=100 + k).to(where)
        # At a low rate trains have one slot, as those of most convolutions.
        lr = 0.02 if k < len(UPDATES) else 5e-5
        if loop:
            update_as_a_gpu(array, x, d, lr, u, loop)
        else:
            array.update(x, d, lr, u)
        array.end_of_batch()
    return array


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.detach().view(torch.int32), b.detach().view(torch.int32))


@pytest.mark.usefixtures("loops_of_a_gpu")
@pytest.mark.parametrize(
    "size", [(5, 7, 3), (20, 1100, 20), (33, 60, 100), (3, 40, 2300), (6, 300, 1)]
)
@pytest.mark.parametrize("model", DEVICES)
def test_update_does_not_depend_on_threads_or_loop(
    model: str, size: tuple[int, int, int]
) -> None:
    one = trained(model, size)
    assert float(one.weight.detach().std()) > 0
    others = [trained(model, size, threads=threads) for threads in (2, 3)]
    loops = (*LOOPS, "update_pulsed/2") if size[2] == 1 else LOOPS
    others += [trained(model, size, loop=loop) for loop in loops]
    for other in others:
        assert same(one.weight, other.weight)
        assert same(one.cells, other.cells)


@pytest.mark.gpu
@pytest.mark.parametrize("model", DEVICES)
def test_the_reference_of_the_update_is_alike_on_a_gpu(model: str) -> None:
    size = (9, 60, 70)
    ours = trained(model, size)
    theirs = trained(model, size, loop="update_reference", where="cuda")
    assert same(ours.weight, theirs.weight.cpu())
    assert same(ours.cells, theirs.cells.cpu())


@pytest.mark.parametrize("batch", [1, 3, 300])
def test_products_do_not_depend_on_threads(batch: int) -> None:
    def outputs(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        tile = Tile(
            45,
            150,
            TileSpec(device=DeviceSpec("ideal"), forward=NOISY, backward=NOISY),
            seed=5,
        )
        tile.set_exact(True)
        tile.array.set_weights(0.2 * numbers(45, 150, seed=1))
        return [
            tile.mvm(numbers(batch, 150, seed=2)),
            tile.mvm_t(numbers(batch, 45, seed=3)),
        ]

    one = outputs(1)
    for threads in (2, 3):
        assert all(same(a, b) for a, b in zip(one, outputs(threads), strict=True))


def compilers() -> list[str]:
    found = [name for name in ("g++", "clang++") if shutil.which(name)]
    return found + (
        [f"{sys.executable} -m ziglang cc -x c++ -nostdlib++"]
        if importlib.util.find_spec("ziglang")
        else []
    )


@pytest.mark.parametrize("model", DEVICES)
def test_compilers_agree(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(compilers()) > 1, "the tests install ziglang to have a second compiler"
    weights, outputs = [], []
    for command in compilers():
        monkeypatch.setattr(
            cpu, "compiler", lambda command=command: tuple(command.split())
        )
        for cached in (cpu.library, array_program, mvm_program):
            cached.cache_clear()
        weights.append(trained(model, (20, 40, 8)))
        tile = Tile(20, 40, TileSpec(device=DeviceSpec("ideal"), forward=NOISY), seed=5)
        tile.set_exact(True)
        tile.array.set_weights(0.2 * numbers(20, 40, seed=1))
        outputs.append(tile.mvm(numbers(9, 40, seed=2)))
    for cached in (cpu.library, array_program, mvm_program):
        cached.cache_clear()
    assert all(
        same(weights[0].weight, w.weight) and same(weights[0].cells, w.cells)
        for w in weights
    )
    assert all(same(outputs[0], y) for y in outputs)


@pytest.mark.parametrize("u", UPDATES, ids=range(len(UPDATES)))
def test_trains_are_those_that_a_gpu_makes_block_by_block(
    u: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trains(rate: float) -> tuple[torch.Tensor, ...]:
        array = CellArray(35, 90, DeviceSpec("constant_step"), seed=2, lanes=2)
        array.set_lr(rate)
        x, d = numbers(2, 11, 90, seed=1), numbers(2, 11, 35, seed=2)
        x[:, 3], d[:, 7], x[:, :, 20:60] = 0.0, 0.0, 0.0
        found = draw_trains(array, x, d, u, granularity=0.01)
        # Words of samples without slots are never read, and a CPU leaves them out.
        used = (found.plans[..., 2] > 0).view(2, 11, 1, 1)
        return found.plans, found.x_words * used, found.d_words * used

    rates = (0.0005, 0.002, 0.01, 0.2)
    together = [trains(rate) for rate in rates]
    read = unit.header
    one = """#include "trains/trains.cu"
static void make_trains_bulk(const UpdateArgs& a, i64 i, i64 n) { while (i < n) make_trains_item(a, i++); }
"""
    monkeypatch.setattr(
        unit,
        "header",
        lambda name: one if name == "trains/cpu/trains.cu" else read(name),
    )
    array_program.cache_clear()
    alone = [trains(rate) for rate in rates]
    array_program.cache_clear()
    for first, second in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("model", DEVICES)
def test_two_lanes_are_two_single_arrays(model: str) -> None:
    spec = TileSpec(
        device=DeviceSpec(model, DEVICES[model]), forward=NOISY, backward=NOISY
    )
    both, single = (
        Tile(9, 70, spec, seed=11, lanes=2),
        [Tile(9, 70, spec, seed=11 + k) for k in range(2)],
    )
    for tile in (both, *single):
        tile.set_exact(True)
    for step, u in enumerate(UPDATES):
        x, d = numbers(2, 6, 70, seed=step), numbers(2, 6, 9, seed=50 + step)
        both.array.update(x, d, 0.02, u)
        y, g = both.mvm(x), both.mvm_t(d)
        for lane, tile in enumerate(single):
            tile.array.update(x[lane], d[lane], 0.02, u)
            assert same(y[lane], tile.mvm(x[lane]))
            assert same(g[lane], tile.mvm_t(d[lane]))
    for lane, tile in enumerate(single):
        assert same(both.weight[lane], tile.weight)
        assert same(both.array.cells[lane], tile.array.cells)
    assert not same(single[0].weight, single[1].weight)


def test_copies_have_the_same_cells_and_other_noise() -> None:
    import copy

    array = trained("constant_step", (6, 9, 4))
    twin = copy.deepcopy(array)
    assert same(array.weight, twin.weight)
    assert same(array.cells, twin.cells)
    x, d = numbers(4, 9, seed=1), numbers(4, 6, seed=2)
    array.update(x, d, 0.05, Update())
    twin.update(x, d, 0.05, Update())
    assert not same(array.weight, twin.weight)


def test_a_loaded_state_continues_with_the_same_bits() -> None:
    array = trained("linear_step", (6, 9, 4))
    other = CellArray(6, 9, array.spec, seed=99)
    other.load_state_dict(array.state_dict())
    x, d = numbers(4, 9, seed=1), numbers(4, 6, seed=2)
    for one in (array, other):
        one.update(x, d, 0.05, Update())
        one.end_of_batch()
    assert same(array.weight, other.weight)
    assert same(array.cells, other.cells)


def test_an_input_on_another_processor_is_refused() -> None:
    tile = Tile(2, 3, TileSpec())
    for read in (tile.mvm, tile.mvm_t):
        with pytest.raises(RuntimeError, match="the input is on meta, the tile on cpu"):
            read(torch.zeros(4, 3, device="meta"))
