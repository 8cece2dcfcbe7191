"""Kernels on an NVIDIA GPU: NVRTC compiles the text, the driver loads it and launches it on
torch's stream and memory.

Of CuPy only its binding of NVRTC is used; its own compilation adds `-ftz=true`, with which subnormal
numbers differ from the CPU's, and its launches take ten times as long. A kernel is `extern "C"
__global__ void NAME(const Args a)`, with one struct by value whose first member is `i64 items`."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.jit import cache, driver
from engine.jit.cpu import CompileError

# Threads of a block; smaller ones spread few threads over more of a GPU.
BLOCK, SMALL_BLOCK, FEW_THREADS = 256, 64, 1 << 15
WARP, MAX_GRID = 32, (1 << 31) - 1
OPTIONS = (
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--device-as-default-execution-space",
)


def available() -> tuple[bool, str]:
    """Whether kernels can run on a GPU here, and one sentence that says on which, or why not."""
    driver = driver_version()
    if driver is None:
        return False, "no NVIDIA driver was found on this machine"
    extra = "cuda13" if driver >= 13000 else "cuda12"
    advice = f"pip install 'aihw[{extra}]'"
    try:
        compiler_version()
    except (
        Exception
    ) as error:  # CuPy raises errors of several kinds where CUDA's libraries do not fit
        return (
            False,
            f"CuPy or its compiler cannot be used ({_first_line(error)}): {advice}",
        )
    import cupy
    import torch

    if not torch.cuda.is_available():
        return (
            False,
            f"torch {torch.__version__} finds no GPU that it can use with a driver for CUDA {_dotted(driver)}",
        )
    name = torch.cuda.get_device_name()
    return (
        True,
        f"{name}, {device_arch()}, CuPy {cupy.__version__}, driver for CUDA {_dotted(driver)}",
    )


def driver_version() -> int | None:
    """The newest CUDA that the NVIDIA driver serves, as 1000 * major + 10 * minor; None without a
    driver."""
    version = ctypes.c_int(0)
    try:
        status = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return version.value if status == 0 and version.value > 0 else None


def device_count() -> int:
    """How many GPUs this process may use, without a library that would claim one."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        found = (
            driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        )
    except (OSError, AttributeError):
        return 0
    return count.value if found else 0


def compiler_version() -> tuple[int, int]:
    """Version of NVRTC; an exception says why it cannot be loaded."""
    major, minor = _nvrtc().getVersion()
    return major, minor


def device_arch() -> str:
    """What to compile for on torch's current GPU: its own architecture, else the newest PTX that
    NVRTC knows."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    own = 10 * major + minor
    known = _nvrtc().getSupportedArchs()
    if own in known:
        return f"sm_{own}"
    return f"compute_{max(arch for arch in known if arch < own)}"


def compile(text: str, arch: str) -> bytes:
    """Binary of a kernel text for a real architecture (`sm_80`), or its PTX for a virtual one
    (`compute_80`)."""
    return build(text, arch).read_bytes()


def build(text: str, arch: str) -> Path:
    """Path of the compiled text in the cache; compiles at first use."""
    key = "\0".join((text, arch, *OPTIONS, repr(compiler_version())))
    ending = "cubin" if arch.startswith("sm_") else "ptx"
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{ending}"
    return cache.fetch("cuda", name, lambda: _run_compiler(text, arch))


def load(binary: Path) -> driver.Module:
    """The module of a compiled file on torch's current GPU; `.get_function(name)` gives what
    `launch` takes."""
    import torch

    torch.cuda.init()
    return driver.Module(binary, torch.cuda.current_device())


def launch(
    function: driver.Function,
    args: ctypes.Structure,
    *,
    items: int,
    warp: bool = False,
    warps: int = 0,
) -> None:
    """Run a kernel on torch's current stream: a thread an item, a warp an item, or a block of
    `warps` warps an item."""
    if items:
        device, stream = torch_functions()
        function.launch(*shape(items, warp, warps), stream(device()), args)


def shape(items: int, warp: bool, warps: int) -> tuple[int, int]:
    """Blocks and threads of a block for so many items."""
    if warps:
        return min(items, MAX_GRID), WARP * warps
    threads = items * WARP if warp else items
    block = BLOCK if threads > FEW_THREADS else SMALL_BLOCK
    return min((threads + block - 1) // block, MAX_GRID), block


@functools.cache
def torch_functions() -> tuple[Callable[[], int], Callable[[int], int]]:
    """Torch's functions for the number of its current GPU, and for the bare handle of its current
    stream there: torch.cuda.current_stream() takes longer than a launch."""
    import torch

    return torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream


def current_device() -> int:
    """The number of torch's current GPU."""
    import torch

    return torch.cuda.current_device()


@functools.cache
def multiprocessors(device: int) -> int:
    """How many multiprocessors a GPU has."""
    import torch

    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def device_of(args: ctypes.Structure) -> int:
    """The number of the GPU that holds what the pointers of `args` point to."""
    import torch

    if several():
        for name, *kind in args._fields_:
            if kind[0] is ctypes.c_void_p and (address := getattr(args, name)):
                return driver.device_of_pointer(address)
    return torch.cuda.current_device()


def at(device: int) -> contextlib.AbstractContextManager[Any]:
    """Makes a GPU torch's current one for a while; nothing is done where it is already."""
    import torch

    return (
        contextlib.nullcontext()
        if torch.cuda.current_device() == device
        else torch.cuda.device(device)
    )


def parameter_size(ptx: str, kernel: str) -> tuple[int, int]:
    """Size and alignment in bytes of the struct that a kernel takes, as PTX declares it."""
    found = re.search(rf"\.entry\s+{re.escape(kernel)}\s*\(([^)]*)\)", ptx)
    if found is None:
        raise ValueError(f"the PTX holds no kernel named {kernel}")
    declared = re.fullmatch(
        r"\s*\.param\s+\.align\s+(\d+)\s+\.b8\s+\w+\[(\d+)\]\s*", found.group(1)
    )
    if declared is None:
        raise ValueError(
            f"{kernel} must take exactly one struct by value, not ({found.group(1).strip()})"
        )
    return int(declared.group(2)), int(declared.group(1))


def _nvrtc() -> Any:
    """CuPy's thin binding of the compiler."""
    from cupy_backends.cuda.libs import nvrtc

    return nvrtc


@functools.cache
def several() -> bool:
    """Whether torch sees more than one GPU."""
    import torch

    return torch.cuda.device_count() > 1


def _run_compiler(text: str, arch: str) -> bytes:
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={arch}", *OPTIONS))
        if arch.startswith("sm_"):
            return bytes(nvrtc.getCUBIN(program))
        ptx = nvrtc.getPTX(program)  # text or bytes, by CuPy's version
        return ptx.encode() if isinstance(ptx, str) else bytes(ptx)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program).strip()
        raise CompileError(
            f"NVRTC refused the kernel for {arch}:\n{log or error}"
        ) from None
    finally:
        nvrtc.destroyProgram(program)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
