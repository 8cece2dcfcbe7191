"""Kernels of a GPU on a machine that has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.jit import pair, source, unit
from engine.jit.pair import pair_program
from engine.jit.programs import array_program


@pytest.fixture
def loops_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels of a CPU have the loops over cells of a GPU as well, and walks of transfers take
    those."""
    read = unit.header

    def header(name: str) -> str:
        made = read(name)
        assert name != "transfer/walk_block.cuh" or "#if WIDE > 1" in made
        return (
            made.replace("#if WIDE > 1", "#if 0")
            if name == "transfer/walk_block.cuh"
            else made
        )

    monkeypatch.setattr(source, "CPU_UPDATES", source.GPU_UPDATES + source.CPU_UPDATES)
    monkeypatch.setattr(
        pair, "FAST_CPU", (*pair.FAST_CPU, "update/gpu/warp_windows.cuh")
    )
    monkeypatch.setattr(pair, "TRANSFER_CPU", pair.TRANSFER_CPU + pair.TRANSFER_GPU)
    monkeypatch.setattr(unit, "header", header)
    for cached in (array_program, pair_program):
        cached.cache_clear()
    yield
    for cached in (array_program, pair_program):
        cached.cache_clear()
