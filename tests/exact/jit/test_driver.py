"""Launches through the CUDA driver, against a library that takes its calls and notes them: what is
passed, and what happens in a thread without a context. No GPU is needed."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.jit import cpu, driver

STUB = r"""
#include <string.h>
typedef unsigned long long u64;
extern "C" {
void* context = 0;
u64 noted[16];
static __thread void* current = 0;
int cuDevicePrimaryCtxRetain(void** c, int device) { *c = (void*)(u64)(1000 + device); return 0; }
int cuCtxSetCurrent(void* c) { context = current = c; return 0; }
int cuModuleLoadData(void** m, const char* text) { noted[15] = text[0]; *m = (void*)7; return current ? 0 : 201; }
int cuModuleGetFunction(void** f, void* m, const char* name) {
    *f = (void*)(u64)(m == (void*)7 ? 11 : 0);
    return strcmp(name, "scale") ? 500 : 0;
}
int cuLaunchKernelEx(const unsigned* c, void* f, void** params, void** extra) {
    if (!current) return 201;
    u64 found[] = {(u64)f, c[0], c[1], c[2], c[3], c[4], c[5], c[6], ((u64*)c)[4],
                   (u64)extra + ((u64*)c)[5] + c[12], *(u64*)params[0], ((u64*)params[0])[1]};
    memcpy(noted, found, sizeof found);
    return c[0] == 13 ? 700 : 0;
}
int cuPointerGetAttribute(int* device, int what, u64 address) {
    *device = (int)(address / 1000) * (what == 9);
    return 0;
}
int cuGetErrorName(int status, const char** name) {
    *name = status == 500 ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_ILLEGAL_ADDRESS";
    return 0;
}
void forget() { current = 0; }
}
"""


class Args(ctypes.Structure):
    """As a kernel's: a number of items and a pointer."""

    _fields_ = (("items", ctypes.c_int64), ("x", ctypes.c_void_p))


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library in place of the driver."""
    source, made = tmp_path / "cuda.cpp", tmp_path / "libcuda.so"
    source.write_text(STUB)
    flags = ["-shared", "-fPIC", "-w"]
    subprocess.run([*cpu.compiler(), *flags, str(source), "-o", str(made)], check=True)
    real = ctypes.CDLL
    monkeypatch.setattr(
        ctypes,
        "CDLL",
        lambda name, *rest: real(str(made) if "libcuda" in name else name, *rest),
    )
    for cached in (driver.library, driver._primary_context):
        cached.cache_clear()
    yield driver.library()
    for cached in (driver.library, driver._primary_context):
        cached.cache_clear()


def module(tmp_path: Path, device: int = 0) -> driver.Module:
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(b"ELF")
    return driver.Module(binary, device)


def test_a_launch_passes_grid_stream_and_struct(stub: Any, tmp_path: Path) -> None:
    function = module(tmp_path).get_function("scale")
    function.launch(3, 64, 0x55, Args(1234, 5678))
    noted = list((ctypes.c_uint64 * 16).in_dll(stub, "noted"))
    assert noted[:10] == [11, 3, 1, 1, 64, 1, 1, 0, 0x55, 0]
    assert noted[10:12] == [1234, 5678]
    assert noted[15] == ord("E")


def test_a_thread_without_a_context_gets_that_of_the_gpu(
    stub: Any, tmp_path: Path
) -> None:
    function = module(tmp_path, device=1).get_function("scale")
    stub.forget()
    function.launch(5, 32, 0, Args(1, 2))
    assert ctypes.c_uint64.in_dll(stub, "context").value == 1001
    assert (ctypes.c_uint64 * 16).in_dll(stub, "noted")[1] == 5


def test_errors_name_the_call_and_the_error(stub: Any, tmp_path: Path) -> None:
    found = module(tmp_path)
    with pytest.raises(
        driver.DriverError,
        match=r"cuModuleGetFunction\(lost\): CUDA_ERROR_NOT_FOUND \(500\)",
    ):
        found.get_function("lost")
    with pytest.raises(
        driver.DriverError, match=r"cuLaunchKernelEx: CUDA_ERROR_ILLEGAL_ADDRESS"
    ):
        found.get_function("scale").launch(13, 1, 0, Args(1, 2))
    assert driver.device_of_pointer(1007) == 1
