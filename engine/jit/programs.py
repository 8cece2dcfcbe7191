"""Compiled kernels by name, on whatever processor the tensors live."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

from engine.jit import cpu, source, team

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

            self._cuda = cuda
            self._module = functools.cache(
                lambda device: cuda.load(cuda.build(text, cuda.device_arch()))
            )
            self._module(cuda.current_device())
        self._functions: dict[str | tuple[str, int], Any] = {}

    def run(
        self,
        name: str,
        args: ctypes.Structure,
        *,
        threads: int | None = None,
        warp: bool = False,
        warps: int = 0,
    ) -> None:
        """Runs kernel `name` over `args.items` items.

        A CPU takes `threads` threads, or as many as kernels may have. A GPU takes a thread for each
        item, a warp if `warp`, or a block of `warps` warps.
        """
        if self.backend == "cpu":
            function = self._functions.get(name) or self._cpu_function(name)
            function(
                ctypes.addressof(args), team.threads() if threads is None else threads
            )
            return
        cuda = self._cuda
        if not cuda.several():
            function = self._functions.get((name, 0)) or self._function(name, 0)
            cuda.launch(function, args, items=args.items, warp=warp, warps=warps)
            return
        # The GPU that holds the tensors, which need not be torch's current one.
        with cuda.at(device := cuda.device_of(args)):
            function = self._function(name, device)
            cuda.launch(function, args, items=args.items, warp=warp, warps=warps)

    def prepare(
        self, name: str, args: ctypes.Structure, items: int, **how: Any
    ) -> Callable[[], None]:
        """What starts kernel `name` over `items` items with what `args` holds at that time; `how`
        as for `run`. A CPU then looks nothing up."""
        if self.backend != "cpu":
            return self._prepare_launch(name, args, items, how)
        function, address = self._cpu_function(name), ctypes.addressof(args)
        threads: int | None = how.get("threads")

        def call() -> None:
            args.items = items
            function(address, team.threads() if threads is None else threads)

        return call

    def _prepare_launch(
        self, name: str, args: ctypes.Structure, items: int, how: dict[str, Any]
    ) -> Callable[[], None]:
        cuda = self._cuda

        def find_gpu() -> None:
            args.items = items
            self.run(name, args, **how)

        if cuda.several():
            return find_gpu
        function, (device, stream) = self._function(name, 0), cuda.torch_functions()
        grid, block = cuda.shape(items, how.get("warp", False), how.get("warps", 0))

        def launch() -> None:
            args.items = items
            function.launch(grid, block, stream(device()), args)

        return launch

    def _cpu_function(self, name: str) -> Any:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._find(name)
        return function

    def _function(self, name: str, device: int) -> Any:
        """The kernel as it was loaded on torch's current GPU, whose number is `device`: each GPU
        has a module of its own."""
        function = self._functions.get((name, device))
        if function is None:
            function = self._functions[name, device] = self._module(
                device
            ).get_function(name)
        return function


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
