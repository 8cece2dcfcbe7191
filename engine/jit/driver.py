"""The CUDA driver by ctypes: load a compiled module, start a kernel.

A launch costs a few microseconds on the host, so that nothing is looked up in it: no device, no
context, no stream object. The context is torch's, the primary one of a GPU. It is current in every
thread that has worked with that GPU; a launch that finds it is not makes it so and tries again."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

# Status of a call where another context, or none, is current.
NOT_INITIALIZED, INVALID_CONTEXT, INVALID_HANDLE = 3, 201, 400
DEVICE_ORDINAL = 9
KEPT_CONFIGS = 256


class DriverError(RuntimeError):
    """The driver refused a call; the text names the call and the driver's word for the error."""


@functools.cache
def library() -> Any:
    """The driver, with the types of the functions that are called here."""
    found = ctypes.CDLL("libcuda.so.1")
    pointer = ctypes.c_void_p
    found.cuLaunchKernelEx.argtypes = [pointer, pointer, pointer, pointer]
    found.cuModuleLoadData.argtypes = [pointer, ctypes.c_char_p]
    found.cuModuleGetFunction.argtypes = [pointer, pointer, ctypes.c_char_p]
    found.cuDevicePrimaryCtxRetain.argtypes = [pointer, ctypes.c_int]
    found.cuCtxSetCurrent.argtypes = [pointer]
    found.cuPointerGetAttribute.argtypes = [pointer, ctypes.c_int, ctypes.c_uint64]
    found.cuGetErrorName.argtypes = [ctypes.c_int, pointer]
    return found


class Module:
    """A compiled file on one GPU."""

    def __init__(self, binary: Path, device: int) -> None:
        make_current(device)
        # The driver wants an end where the file is text (PTX).
        content = binary.read_bytes() + b"\0"
        handle = ctypes.c_void_p()
        _check(
            "cuModuleLoadData",
            library().cuModuleLoadData(ctypes.byref(handle), content),
        )
        self._handle, self._device = handle, device

    def get_function(self, name: str) -> Function:
        """The kernel of that name."""
        handle = ctypes.c_void_p()
        status = library().cuModuleGetFunction(
            ctypes.byref(handle), self._handle, name.encode()
        )
        _check(f"cuModuleGetFunction({name})", status)
        return Function(handle, self._device)


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig of the driver."""

    _fields_ = (
        *(
            (f"{of}_{axis}", ctypes.c_uint)
            for of in ("grid", "block")
            for axis in "xyz"
        ),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("count", ctypes.c_uint),
    )


class Function:
    """A kernel that takes one struct by value."""

    def __init__(self, handle: ctypes.c_void_p, device: int) -> None:
        # Four arguments, which ctypes converts in a quarter of the time of cuLaunchKernel's eleven.
        self._handle, self._device, self._launch = (
            handle,
            device,
            library().cuLaunchKernelEx,
        )
        self._configs: dict[tuple[int, int, int], LaunchConfig] = {}

    def launch(
        self, grid: int, block: int, stream: int, args: ctypes.Structure
    ) -> None:
        """Start `grid` blocks of `block` threads on a stream."""
        config = self._configs.get((grid, block, stream))
        if config is None:
            config = self._configure(grid, block, stream)
        parameter = ctypes.c_void_p(ctypes.addressof(args))
        call = (
            ctypes.addressof(config),
            self._handle,
            ctypes.addressof(parameter),
            None,
        )
        status = self._launch(*call)
        if status:
            if status in (NOT_INITIALIZED, INVALID_CONTEXT, INVALID_HANDLE):
                make_current(self._device)
                status = self._launch(*call)
            _check("cuLaunchKernelEx", status)

    def _configure(self, grid: int, block: int, stream: int) -> LaunchConfig:
        """Never changed once it is made, as threads may use it at the same time."""
        if len(self._configs) >= KEPT_CONFIGS:
            self._configs = {}
        made = LaunchConfig(grid, 1, 1, block, 1, 1, 0, stream, None, 0)
        self._configs[grid, block, stream] = made
        return made


def make_current(device: int) -> None:
    """Make torch's context of a GPU the current one of this thread."""
    _check("cuCtxSetCurrent", library().cuCtxSetCurrent(_primary_context(device)))


def device_of_pointer(address: int) -> int:
    """The number of the GPU that holds an address."""
    found = ctypes.c_int()
    status = library().cuPointerGetAttribute(
        ctypes.byref(found), DEVICE_ORDINAL, address
    )
    _check("cuPointerGetAttribute", status)
    return found.value


@functools.cache
def _primary_context(device: int) -> Any:
    """Torch's context. It is kept until the process ends."""
    context = ctypes.c_void_p()
    status = library().cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    _check("cuDevicePrimaryCtxRetain", status)
    return context


def _check(call: str, status: int) -> None:
    if status:
        name = ctypes.c_char_p()
        library().cuGetErrorName(status, ctypes.byref(name))
        raise DriverError(
            f"{call}: {(name.value or b'unknown error').decode()} ({status})"
        )
