"""Trains equal those of engine/kernels/trains/reference.cu bit by bit: as words on both processors,
and as the sample masks of a GPU."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from engine.jit import source
from engine.jit.programs import Program
from engine.tile import pulses, trains
from engine.tile.cells import CellArray
from engine.tile.settings import DeviceSpec, Update
from engine.tile.strategies import update as update_kernels
from tests.exact.emulated_gpu import EmulatedProgram

SLOT_MASK = 0x7FFFFFFF
SHORT = 1e-4
# Settings and learning rates: trains of one word and of several, of one slot or two, of a few, of
# steps of the probability, and those that count.
CASES = {
    "managed": (Update(), 0.02),
    "one slot": (Update(), SHORT),
    "two slots": (Update(desired_bl=2, update_bl_management=False), 0.01),
    "few slots": (Update(desired_bl=11, update_bl_management=False), 0.01),
    "two words": (Update(desired_bl=40, update_bl_management=False), 0.02),
    "rounded": (Update(res=0.03, sto_round=True), 0.02),
    "rounded, one slot": (Update(res=0.03), SHORT),
    "sure lines": (
        Update(desired_bl=5, fixed_bl=False, update_bl_management=False),
        0.03,
    ),
    "counts": (Update(pulse_type="MeanCount"), 0.02),
    "amplitudes": (
        Update(pulse_type="DeterministicImplicit", x_res_implicit=0.1, sto_round=True),
        0.02,
    ),
}
# Outputs, inputs, samples: blocks of 32 lines and a part of one; groups of samples and a part.
SIZE = (35, 70, 45)


def samples(size: tuple[int, int, int], where: str) -> tuple[Tensor, Tensor]:
    """x and d, some of which are 0; one sample is empty."""
    rows, cols, batch = size
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(batch, cols, generator=generator)
    x *= torch.rand(batch, cols, generator=generator) < 0.7
    x[1] = 0
    d = torch.randn(batch, rows, generator=generator)
    return x.to(where), d.to(where)


@functools.cache
def reference_program(layout: source.Layout, backend: str) -> Program:
    return Program(source.trains_reference_text("constant_step", layout), backend)


def made_and_expected(
    case: str, where: str, size: tuple[int, int, int] = SIZE
) -> tuple[CellArray, trains.Trains, trains.Trains]:
    """An array, its trains, and those of the reference by the same random numbers."""
    settings, lr = CASES[case]
    spec = DeviceSpec("constant_step", {})
    array = CellArray(size[0], size[1], spec, seed=3).to(where)
    array.set_lr(lr)
    x, d = samples(size, where)
    granularity = array.granularity
    made = trains.draw_trains(array, x, d, settings, granularity=granularity)
    expected = trains.Trains(
        torch.zeros_like(made.plans),
        made.frozen,
        torch.zeros_like(made.x_words),
        torch.zeros_like(made.d_words),
        made.kind,
    )
    plan = pulses._plan(settings, granularity, lr, array.weight.device)
    args = trains._train_args(array, x, d, plan, expected)
    args.call -= 1
    args.items = size[2] * (size[0] + size[1])
    program = reference_program(array.layout, where)
    program.run("trains_reference", args, threads=1)
    return array, made, expected


def check(made: trains.Trains, expected: trains.Trains) -> None:
    """Words of samples without slots are whatever was there before."""
    assert torch.equal(made.plans, expected.plans)
    lengths = expected.plans[0, :, 2]
    assert int(lengths[1]) == 0
    live = lengths > 0
    assert int(live.sum()) >= len(lengths) - 1
    for name in ("x_words", "d_words"):
        found, wanted = getattr(made, name)[0, live], getattr(expected, name)[0, live]
        assert int((wanted & SLOT_MASK != 0).sum()) > 0
        assert torch.equal(found, wanted), name


@pytest.mark.parametrize("case", CASES)
def test_trains_of_a_cpu_equal_the_reference(case: str) -> None:
    _, made, expected = made_and_expected(case, "cpu")
    check(made, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_trains_of_a_gpu_equal_the_reference(case: str) -> None:
    _, made, expected = made_and_expected(case, "cuda")
    check(made, expected)
    _, _, on_a_cpu = made_and_expected(case, "cpu")
    check(expected, on_a_cpu_like(on_a_cpu))


def on_a_cpu_like(t: trains.Trains) -> trains.Trains:
    return trains.Trains(t.plans.cuda(), None, t.x_words.cuda(), t.d_words.cuda())


@functools.cache
def emulated(layout: source.Layout) -> EmulatedProgram:
    return EmulatedProgram(source.device_text("constant_step", layout, "cuda"))


@pytest.mark.parametrize("case", CASES)
def test_emulated_trains_equal_the_reference(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CellArray, "program", lambda array: emulated(array.layout))
    _, made, expected = made_and_expected(case, "cpu")
    check(made, expected)


@pytest.mark.parametrize("case", CASES)
def test_emulated_masks_equal_the_reference(case: str) -> None:
    """A line fires in a sample where any of its slots does; d carries the direction."""
    array, made, expected = made_and_expected(case, "cpu")
    settings, lr = CASES[case]
    plan = pulses._plan(settings, array.granularity, lr, array.weight.device)
    x, d = samples(SIZE, "cpu")
    args = trains._train_args(array, x, d, plan, made)
    args.call -= 2
    kept = update_kernels.make_masks(emulated(array.layout), args, x.device)
    live = expected.plans[0, :, 2] > 0
    down = expected.plans[0, :, 3] != 0
    for masks, words, turned in (
        (kept[0], expected.x_words, torch.zeros_like(down)),
        (kept[1], expected.d_words, ~down),
    ):
        fires = (words[0] & SLOT_MASK != 0).any(1) & live[:, None]
        negative = words[0, :, 0] < 0
        for sample in range(SIZE[2]):
            group, bit = divmod(sample, update_kernels.GROUP)
            found = masks[0, group] >> bit & 1
            assert torch.equal(found[:, 0] != 0, fires[sample]), sample
            signs = negative[sample] ^ turned[sample]
            where = fires[sample]
            assert torch.equal((found[:, 1] != 0)[where], signs[where]), sample
