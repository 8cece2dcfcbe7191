// What differs between NVRTC and a host C++ compiler. Nothing below this header knows which one reads it.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef __CUDACC__

#define FN __device__ __forceinline__
#define CALLED static __device__ __noinline__
// A function of its own on a CPU alone.
#define CPU_CALLED FN
// A function of a GPU, whose arguments stay in registers; a CPU only ever calls it in tests.
#define GPU_FN FN
#define LOOP
#define UNROLLED _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
// A loop of which a GPU starts the loads of several rounds at once.
#define LOADS_AHEAD _Pragma("unroll 8")
// Rows of which a GPU has the loads of a column under way.
#define ROWS_AHEAD 16
FN u32 bits_of(float v) { return __float_as_uint(v); }
FN float float_of(u32 v) { return __uint_as_float(v); }
FN float fma_(float a, float b, float c) { return fmaf(a, b, c); }
FN float sqrt_(float v) { return sqrtf(v); }
FN float abs_(float v) { return fabsf(v); }
FN float floor_(float v) { return floorf(v); }
FN u32 popcount(u32 v) { return __popc(v); }
FN u32 mul_hi(u32 a, u32 b) { return __umulhi(a, b); }

#include "lanes_gpu.cuh"

// Numbers of cells that are worked on in registers: one a thread.
typedef float Wide;
typedef u32 WideBits;
#define WIDE 1
#define WIDES(g, n) for (int g = 0; g < 1; ++g)

#define KERNEL(name, Args)                                                                                  \
    FN void name##_item(const Args& a, i64 item);                                                           \
    extern "C" __global__ void name(const __grid_constant__ Args a) {                                                         \
        for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < a.items; i += gridDim.x * (i64)blockDim.x) \
            name##_item(a, i);                                                                              \
    }                                                                                                       \
    FN void name##_item(const Args& a, i64 item)
#define BOUNDED_WARP_KERNEL(name, Args, bounds)                                                             \
    FN void name##_item(const Args& a, i64 item);                                                           \
    extern "C" __global__ void bounds name(const __grid_constant__ Args a) {                                                  \
        i64 first = (blockIdx.x * (i64)blockDim.x + threadIdx.x) >> 5;                                      \
        for (i64 i = first; i < a.items; i += (gridDim.x * (i64)blockDim.x) >> 5) name##_item(a, i);        \
    }                                                                                                       \
    FN void name##_item(const Args& a, i64 item)
#define WARP_KERNEL(name, Args) BOUNDED_WARP_KERNEL(name, Args, )
// With so few registers that three blocks of 256 threads fit into a multiprocessor.
#define BUSY_KERNEL(name, Args) BOUNDED_WARP_KERNEL(name, Args, __launch_bounds__(256, 3))
// Four blocks of 256 threads.
#define CROWDED_KERNEL(name, Args) BOUNDED_WARP_KERNEL(name, Args, __launch_bounds__(256, 4))
#define BULK_KERNEL WARP_KERNEL
// A block of up to `most` warps an item; no result may depend on how many there are.
#define BLOCK_KERNEL(name, Args, most)                                                                      \
    FN void name##_item(const Args& a, i64 item, Warps w);                                                  \
    extern "C" __global__ void __launch_bounds__(32 * most) name(const __grid_constant__ Args a) {                            \
        Warps w = {(int)threadIdx.x >> 5, (int)blockDim.x >> 5};                                            \
        for (i64 i = blockIdx.x; i < a.items; i += gridDim.x) {                                             \
            name##_item(a, i, w);                                                                           \
            warps_sync(w);                                                                                  \
        }                                                                                                   \
    }                                                                                                       \
    FN void name##_item(const Args& a, i64 item, Warps w)

#else

#define FN static inline __attribute__((always_inline))
#define CALLED static __attribute__((noinline))
#define CPU_CALLED CALLED
#define GPU_FN CALLED
#define LOOP _Pragma("GCC ivdep")
#define UNROLLED
#define ROLLED
#define LOADS_AHEAD
#define ROWS_AHEAD 1
FN u32 bits_of(float v) { u32 r; __builtin_memcpy(&r, &v, 4); return r; }
FN float float_of(u32 v) { float r; __builtin_memcpy(&r, &v, 4); return r; }
FN float fma_(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
FN float sqrt_(float v) { return __builtin_sqrtf(v); }
FN float abs_(float v) { return __builtin_fabsf(v); }
FN float floor_(float v) { return __builtin_floorf(v); }
FN u32 popcount(u32 v) { return (u32)__builtin_popcount(v); }
FN u32 mul_hi(u32 a, u32 b) { return (u32)(((u64)a * b) >> 32); }

#include "lanes_cpu.cuh"

// Elements of two vectors of 16 floats, numbered one after the other.
#ifdef __clang__
#define SHUFFLE16(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int Places16 __attribute__((vector_size(64)));
#define SHUFFLE16(a, b, ...) __builtin_shuffle(a, b, (Places16){__VA_ARGS__})
#endif

#include "wide.cuh"
#include "team.cuh"

#define KERNEL(name, Args)                                                                                  \
    FN void name##_item(const Args& a, i64 item);                                                           \
    static void name##_range(const void* v, i64 begin, i64 end) {                                           \
        const Args& a = *(const Args*)v;                                                                    \
        for (i64 i = begin; i < end; ++i) name##_item(a, i);                                                \
    }                                                                                                       \
    static Pace name##_paces[64];                                                                           \
    extern "C" void name(const Args* a, i64 threads) { run_range(name##_range, a, a->items, threads, name##_paces); } \
    FN void name##_item(const Args& a, i64 item)
#define WARP_KERNEL KERNEL
#define BUSY_KERNEL KERNEL
#define CROWDED_KERNEL KERNEL
#define BLOCK_KERNEL(name, Args, most)                                                                      \
    FN void name##_item(const Args& a, i64 item, Warps w);                                                  \
    static void name##_range(const void* v, i64 begin, i64 end) {                                           \
        const Args& a = *(const Args*)v;                                                                    \
        for (i64 i = begin; i < end; ++i) name##_item(a, i, Warps());                                       \
    }                                                                                                       \
    static Pace name##_paces[64];                                                                           \
    extern "C" void name(const Args* a, i64 threads) { run_range(name##_range, a, a->items, threads, name##_paces); } \
    FN void name##_item(const Args& a, i64 item, Warps w)
// A kernel whose items a CPU takes in the order and manner of name_bulk.
#define BULK_KERNEL(name, Args)                                                                             \
    static void name##_bulk(const Args& a, i64 begin, i64 end);                                             \
    static void name##_range(const void* v, i64 begin, i64 end) { name##_bulk(*(const Args*)v, begin, end); } \
    static Pace name##_paces[64];                                                                           \
    extern "C" void name(const Args* a, i64 threads) { run_range(name##_range, a, a->items, threads, name##_paces); } \
    FN void name##_item(const Args& a, i64 item)

#endif

// Between the values of one lane in an array of Laned.
#define LANE_STRIDE ((i64)(sizeof(Laned<float>) / sizeof(float)))

// Writes the first `rest` of 32 numbers; whole vectors without masks.
FN void store_lanes(float* to, Laned<float>& v, i64 rest) {
    if (rest >= 32) LANES(l) to[l] = v[l];
    else LANES(l) if (l < rest) to[l] = v[l];
}

FN u32 min_u(u32 a, u32 b) { return a < b ? a : b; }
FN float min_(float a, float b) { return a < b ? a : b; }
FN float max_(float a, float b) { return a > b ? a : b; }
FN float clamp_(float v, float low, float high) { return v < low ? low : (v > high ? high : v); }
// Ties to even: adding 2^23 leaves no bit behind the point, and larger floats have none.
FN float round_(float v) {
    float m = abs_(v);
    float r = m < 8388608.0f ? (m + 8388608.0f) - 8388608.0f : m;
    return float_of(bits_of(r) | (bits_of(v) & 0x80000000u));
}
// yes ? a : b, computed: a compiler makes masked stores of a choice that keeps what memory holds, and loads that follow
// wait for those.
FN float pick(bool yes, float a, float b) {
    u32 mask = 0u - (u32)yes;
    return float_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}
FN bool some(u32 v) { return v != 0u; }
FN float choose(bool yes, float a, float b) { return yes ? a : b; }
FN u32 choose(bool yes, u32 a, u32 b) { return yes ? a : b; }
FN void fetch(float& to, const float* from) { to = *from; }
FN void fetch(u32& to, const u32* from) { to = *from; }
FN void put(float* to, float from) { *to = from; }
FN void put(u32* to, u32 from) { *to = from; }
FN float trunc_(float v) { float f = floor_(abs_(v)); return v < 0.0f ? -f : f; }
