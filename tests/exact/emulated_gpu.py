"""Kernels of a GPU on a machine that has none: their text, as NVRTC would compile it, run by fibers
of a CPU, one for each thread of a block.

A fiber works until it meets a barrier of its block or an exchange with its warp, and then makes room
for the next one. Blocks run one after the other. Everything is emulated but speed and concurrency of
blocks; registers, caches and the order of memory are not."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.jit import cpu
from engine.jit.cuda import BLOCK, FEW_THREADS, SMALL_BLOCK, WARP

HEADER = r"""
#include <math.h>
#include <string.h>
#include <ucontext.h>
#include <sched.h>
#define __CUDACC__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };
#define MOST 512
static struct { unsigned x; } threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t home, fiber[MOST];
static char stack[MOST][1 << 18];
static int now, alive, at_barrier[MOST], ended[MOST];
static unsigned exchange[MOST];
static long long barrier_round[MOST], warp_round[MOST];
static void resume(int next) {
    int before = now;
    now = next;
    threadIdx.x = (unsigned)next;
    if (next != before) swapcontext(&fiber[before], &fiber[next]);
    threadIdx.x = (unsigned)now;
}
static void other() {
    int me = now, next = me;
    do next = (next + 1) % (int)blockDim.x; while (ended[next] && next != me);
    resume(next);
}
// Waits until all threads [first, last) that have not ended were here as often.
static void meet(long long* round, int first, int last) {
    long long mine = ++round[now];
    for (;;) {
        bool all = true;
        for (int t = first; t < last; ++t) all = all && (ended[t] || round[t] >= mine);
        if (all) return;
        other();
    }
}
static void __syncthreads() { meet(barrier_round, 0, (int)blockDim.x); }
static void meet_warp() { int first = now & ~31; meet(warp_round, first, first + 32); }
static void __syncwarp() { meet_warp(); }
template <class T> static T exchanged(T v, int from) {
    memcpy(&exchange[now], &v, 4);
    meet_warp();
    T r;
    memcpy(&r, &exchange[(now & ~31) | (from & 31)], 4);
    meet_warp();
    return r;
}
template <class T> static T __shfl_sync(unsigned, T v, int from) { return exchanged(v, from); }
template <class T> static T __shfl_xor_sync(unsigned, T v, int o) { return exchanged(v, (now & 31) ^ o); }
template <class T> static T __shfl_up_sync(unsigned, T v, int o) {
    int lane = now & 31;
    return exchanged(v, lane >= o ? lane - o : lane);
}
static unsigned __ballot_sync(unsigned, bool yes) {
    exchange[now] = yes;
    meet_warp();
    unsigned mask = 0;
    for (int l = 0; l < 32; ++l) mask |= exchange[(now & ~31) | l] << l;
    meet_warp();
    return mask;
}
static bool __any_sync(unsigned m, bool yes) { return __ballot_sync(m, yes) != 0; }
static unsigned __float_as_uint(float v) { unsigned r; memcpy(&r, &v, 4); return r; }
static float __uint_as_float(unsigned v) { float r; memcpy(&r, &v, 4); return r; }
static int __popc(unsigned v) { return __builtin_popcount(v); }
static unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
static int __ffs(int v) { return __builtin_ffs(v); }
static int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static int atomicAdd(int* p, int v) { int old = *p; *p += v; return old; }
static void __threadfence() {}
static void __nanosleep(unsigned) { other(); }
static void (*kernel)(const void*);
static const void* arguments;
static void enter() {
    kernel(arguments);
    ended[now] = 1;
    --alive;
    while (alive) other();
    setcontext(&home);
}
extern "C" void emulate(void (*function)(const void*), const void* args, int grid, int block) {
    kernel = function;
    arguments = args;
    gridDim.x = (unsigned)grid;
    blockDim.x = (unsigned)block;
    for (int b = 0; b < grid; ++b) {
        blockIdx.x = (unsigned)b;
        alive = block;
        for (int t = 0; t < block; ++t) {
            ended[t] = 0;
            barrier_round[t] = warp_round[t] = 0;
            getcontext(&fiber[t]);
            fiber[t].uc_stack.ss_sp = stack[t];
            fiber[t].uc_stack.ss_size = sizeof stack[t];
            makecontext(&fiber[t], enter, 0);
        }
        now = 0;
        threadIdx.x = 0;
        swapcontext(&home, &fiber[0]);
    }
}
"""
FLAGS = (
    "-std=c++17",
    "-O1",
    "-march=native",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-w",
)


@functools.cache
def library(text: str) -> Any:
    """The compiled text. A struct comes by reference, not by value: fibers share it."""
    body = text.replace("const __grid_constant__ Args a", "const Args& a")
    with tempfile.TemporaryDirectory() as folder:
        file, made = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        file.write_text(HEADER + body)
        subprocess.run(
            [*cpu.compiler(), *FLAGS, str(file), "-o", str(made), "-lm"], check=True
        )
        return ctypes.CDLL(str(made))


class EmulatedProgram:
    """Takes the place of engine.jit.programs.Program on a GPU."""

    backend = "cuda"

    def __init__(self, text: str) -> None:
        self.library = library(text)

    def run(
        self,
        name: str,
        args: ctypes.Structure,
        *,
        threads: int | None = None,
        warp: bool = False,
        warps: int = 0,
    ) -> None:
        """Runs a kernel as engine.jit.cuda.launch does."""
        if args.items == 0:
            return
        wanted = args.items * (WARP if warp else 1)
        block = (
            WARP * warps if warps else BLOCK if wanted > FEW_THREADS else SMALL_BLOCK
        )
        grid = args.items if warps else -(-wanted // block)
        function = ctypes.cast(getattr(self.library, name), ctypes.c_void_p)
        emulate = self.library.emulate
        emulate.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
        ]
        emulate(function, ctypes.addressof(args), grid, block)

    def prepare(
        self, name: str, args: ctypes.Structure, items: int, **how: Any
    ) -> Callable[[], None]:
        """What runs a kernel over so many items."""

        def start() -> None:
            args.items = items
            self.run(name, args, **how)

        return start
