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

SLOW = ("pulsing.cuh", "jump.cuh", "window.cuh", "block.cuh", "block_pulses.cuh")
WALK = ("walk.cuh", "trains.cu", "update_exact.cu")
TRANSFER = (
    "transfer/schedule.cu",
    "transfer_plan.cu",
    "transfer_read.cu",
    "transfer.cu",
    "transfer_walk.cu",
)
TRANSFER_CPU = ("transfer_cpu.cu",)
TRANSFER_GPU = ("transfer/first_stretch.cu",)


def pair_text(fast: tuple[str, Layout], slow: tuple[str, Layout], backend: str) -> str:
    """One translation unit for a fast array and slower ones, each given by its device model and
    layout."""
    loops = fast_loops(backend)
    common = Unit()
    parts = [common.text(*source.PHYSICS, "transfer.cuh")]
    first, second = _body(fast, SLOW + loops, common), _body(slow, SLOW, common)
    again = [f"#undef {macro}" for macro in sorted(_macros(first) & _macros(second))]
    parts += ["namespace fast {", first, "}"]
    parts += (
        ["namespace slow = fast;"] if fast == slow else [*again, "namespace slow {", second, "}"]
    )
    parts += [common.text(*TRANSFER, *(TRANSFER_CPU if backend == "cpu" else TRANSFER_GPU))]
    return "\n".join(parts)


def fast_loops(backend: str) -> tuple[str, ...]:
    """The loops over cells of the fast array."""
    loops = source.kernels_of(backend)
    headers = tuple(name for name in loops if name.endswith(".cuh"))
    steps = ("walk_steps.cuh",) if backend == "cpu" else ()
    return (*headers, *steps, *WALK, *(name for name in loops if name not in headers))


@functools.cache
def pair_program(fast: tuple[str, Layout], slow: tuple[str, Layout], backend: str) -> Program:
    """The kernels of a transfer from arrays of one device to arrays of another."""
    return Program(pair_text(fast, slow, backend), backend)


def _body(part: tuple[str, Layout], files: tuple[str, ...], before: Unit) -> str:
    """What stands in the namespace of one of the two devices."""
    unit = Unit(source.device_parts(find_device(part[0]), part[1]), inside=before)
    return unit.text("device/structs.cuh", files[0], "device/step.cuh", *files[1:])


def _macros(text: str) -> set[str]:
    return set(re.findall(r"^#define (\w+)", text, re.M))
