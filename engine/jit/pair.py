"""The C text of arrays of two devices that exchange weights: each in a namespace of its own, then
the transfer."""

from __future__ import annotations

import functools
import re

from engine.devices.base import find_device
from engine.jit import source
from engine.jit.programs import Program
from engine.jit.source import Layout
from engine.jit.unit import Unit

# What precedes the namespaces of the devices, what each of them has, and what follows.
COMMON = ("transfer/args.cuh",)
SLOW = ("transfer/block_pulses.cuh",)
FAST_CPU = (*SLOW, "update/cpu/runs.cuh")
FAST_GPU = (*SLOW, "update/gpu/warp_windows.cuh")
WALK = ("transfer/walk_block.cuh", "trains/trains.cu", "update/exact.cu")
TRANSFER_CPU = ("transfer/cpu/transfer.cu",)
TRANSFER_GPU = ("transfer/walk.cu", "transfer/gpu/first_stretch.cu")


def pair_text(fast: tuple[str, Layout], slow: tuple[str, Layout], backend: str) -> str:
    """One translation unit for a fast array and slower ones, each given by its device model and
    layout."""
    common = Unit()
    parts = [common.text(*COMMON)]
    first, second = _body(fast, fast_files(backend), common), _body(slow, SLOW, common)
    again = [f"#undef {macro}" for macro in sorted(_macros(first) & _macros(second))]
    parts += ["namespace fast {", first, "}"]
    parts += (
        ["namespace slow = fast;"]
        if fast == slow
        else [*again, "namespace slow {", second, "}"]
    )
    parts += [common.text(*(TRANSFER_CPU if backend == "cpu" else TRANSFER_GPU))]
    return "\n".join(parts)


def fast_files(backend: str) -> tuple[str, ...]:
    """What the fast array has: pulses of its slices, and the update of those that are not read."""
    cells = FAST_CPU if backend == "cpu" else FAST_GPU
    return (*cells, *WALK, *source.updates_of(backend))


@functools.cache
def pair_program(
    fast: tuple[str, Layout], slow: tuple[str, Layout], backend: str
) -> Program:
    """The kernels of a transfer from arrays of one device to arrays of another."""
    return Program(pair_text(fast, slow, backend), backend)


def _body(part: tuple[str, Layout], files: tuple[str, ...], before: Unit) -> str:
    """What stands in the namespace of one of the two devices."""
    unit = Unit(source.device_parts(find_device(part[0]), part[1]), inside=before)
    return unit.text(*files)


def _macros(text: str) -> set[str]:
    return set(re.findall(r"^#define (\w+)", text, re.M))
