"""Kernels of updates and transfers on an emulated GPU equal those of a CPU bit by bit: the kernels
that the table of a GPU chooses, with exchanges within warps and lists that a block shares."""

from __future__ import annotations

from typing import Any

import pytest

from engine.jit import source
from engine.tile.cells import CellArray
from engine.tile.strategies import update as update_kernels
from tests.exact.emulated_gpu import EmulatedProgram
from tests.exact.test_same_bits import DEVICES, same, trained

# Sizes (outputs, inputs, samples) and the kernels that must have run.
CASES = {
    "one sample": ((6, 300, 1), {"update_pulsed"}),
    "several samples": ((5, 41, 35), {"make_trains", "update_strips"}),
    "many samples": ((3, 7, 300), {"make_masks", "update_hits"}),
}
LISTED = {"mark_windows", "mark_hits"}


def check(
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    size: tuple[int, int, int],
    kernels: set[str],
) -> None:
    """Trains an array on both and compares its cells."""
    expected, ran = trained(model, size), set()
    run = EmulatedProgram.run
    layout = expected.layout
    program = EmulatedProgram(source.device_text(model, layout, "cuda"))

    def noted(self: EmulatedProgram, kernel: str, *args: Any, **how: Any) -> None:
        ran.add(kernel)
        run(self, kernel, *args, **how)

    monkeypatch.setattr(EmulatedProgram, "run", noted)
    monkeypatch.setattr(CellArray, "program", lambda array: program)
    found = trained(model, size)
    assert kernels <= ran
    assert float(found.weight.detach().std()) > 0
    assert same(found.weight, expected.weight)
    assert same(found.cells, expected.cells)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", DEVICES)
def test_emulated_updates_equal_those_of_a_cpu(
    model: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(monkeypatch, model, *CASES[case])


@pytest.mark.parametrize("model", ["soft_bounds", "exp_step"])
def test_emulated_updates_by_listed_groups(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of samples in which a cell has coincidences are listed."""
    monkeypatch.setattr(update_kernels, "UNLISTED_GROUPS", 0)
    check(monkeypatch, model, (3, 7, 300), CASES["many samples"][1] | LISTED)
