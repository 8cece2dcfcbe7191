"""Compiled kernels by name, on whatever processor the tensors live."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

from engine.jit import cpu, source

Launch = Callable[..., None]


class Program:
    """The kernels of one text on one backend. `run` starts one; tensors in `args` must stay alive
    until it is done."""

    def __init__(self, text: str, backend: str) -> None:
        self.backend = backend
        if backend == "cpu":
            self._find: Callable[[str], Any] = cpu.library(text).function
        else:
            from engine.jit import cuda

            self._module = functools.cache(
                lambda device: cuda.load(cuda.build(text, cuda.device_arch()))
            )
            self._module(cuda.current_device())
        self._functions: dict[str | tuple[str, int], Any] = {}

    def run(self, name: str, args: ctypes.Structure, *, threads: int, warp: bool = False) -> None:
        """Runs kernel `name` over `args.items` items (a warp for each item if `warp`)."""
        if self.backend != "cpu":
            self._launch(name, args, warp=warp)
            return
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._find(name)
        function(ctypes.addressof(args), threads)

    def _launch(self, name: str, args: ctypes.Structure, *, warp: bool) -> None:
        """On the GPU that holds the tensors, which need not be torch's current one: each has its
        own module."""
        from engine.jit import cuda

        with cuda.at(device := cuda.device_of(args)):
            function = self._functions.get((name, device))
            if function is None:
                function = self._functions[name, device] = self._module(device).get_function(name)
            cuda.launch(function, args, items=args.items, warp=warp)


@functools.cache
def array_program(model: str, place: source.Layout, backend: str) -> Program:
    """The kernels of an array of cells of one device."""
    return Program(source.device_text(model, place, backend), backend)


@functools.cache
def mvm_program(backend: str) -> Program:
    """The kernels around a matrix product."""
    return Program(source.mvm_text(backend), backend)


@functools.cache
def patches_program(backend: str) -> Program:
    """The kernels that turn images into patches and back."""
    return Program(source.patches_text(), backend)


@functools.cache
def group_program(backend: str) -> Program:
    """The kernels of cells of several devices."""
    return Program(source.group_text(), backend)


@functools.cache
def rounds_program(backend: str) -> Program:
    """The kernels of transfers between arrays that are pulsed by updates of their own."""
    return Program(source.rounds_text(), backend)


@functools.cache
def digital_program(backend: str) -> Program:
    """The kernels of what algorithms compute beside their arrays."""
    return Program(source.digital_text(), backend)


@functools.cache
def training_program(backend: str) -> Program:
    """The kernels of hardware-aware training."""
    return Program(source.training_text(), backend)


def fill(args: ctypes.Structure, names: Sequence[str], tensors: Sequence[Any]) -> None:
    """Writes the addresses of tensors into the pointers of a struct."""
    for name, tensor in zip(names, tensors, strict=True):
        setattr(args, name, tensor.data_ptr())
