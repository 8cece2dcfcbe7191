// The 32 lanes of a warp on a GPU.
#pragma once

// One warp is one item of a WARP_KERNEL; a Laned value lives once in each of its 32 threads.
template <class T> struct Laned { T own; __device__ T& operator[](int) { return own; } };
#define LANES(l) for (int l = threadIdx.x & 31, once_ = 1; once_; once_ = 0)
#define LANES_OF(l, n) LANES(l)
#define LANES_UP_TO(l, n) LANES(l)
FN float lanes_at(Laned<float>& v, int l) { return __shfl_sync(0xffffffffu, v.own, l); }
FN float lanes_max(Laned<float>& v) {
    for (int o = 16; o; o >>= 1) { float t = __shfl_xor_sync(0xffffffffu, v.own, o); v.own = v.own > t ? v.own : t; }
    return v.own;
}
FN float lanes_sum(Laned<float>& v) {
    for (int o = 16; o; o >>= 1) v.own = v.own + __shfl_xor_sync(0xffffffffu, v.own, o);
    return v.own;
}
FN bool lanes_any(Laned<u32>& v) { return v.own != 0u; }
FN bool lanes_flag(bool v) { return __any_sync(0xffffffffu, v); }
FN u32 lanes_first(Laned<u32>& v) { return __shfl_sync(0xffffffffu, v.own, 0); }
FN u32 lanes_at(Laned<u32>& v, int l) { return __shfl_sync(0xffffffffu, v.own, l); }
// Each lane gets what lane from[l] has.
template <class T> FN void lanes_from(Laned<T>& v, Laned<u32>& from, Laned<T>& to) {
    to.own = __shfl_sync(0xffffffffu, v.own, (int)from.own);
}
FN u32 lanes_mask(Laned<u32>& v) { return __ballot_sync(0xffffffffu, v.own != 0u); }
// Each lane gets the sum of all up to it.
FN void lanes_add_up(Laned<u32>& v) {
    for (int o = 1; o < 32; o <<= 1) {
        u32 t = __shfl_up_sync(0xffffffffu, v.own, o);
        v.own += (threadIdx.x & 31) >= o ? t : 0u;
    }
}
FN int first_bit(u32 v) { return __ffs((int)v) - 1; }
FN int last_bit(u32 v) { return 31 - __clz((int)v); }
FN bool first_lane() { return (threadIdx.x & 31) == 0; }
FN void lanes_sync() { __syncwarp(); }
// A list of `n` numbers that the lanes of a warp share; blocks have at most WARPS_OF_BLOCK warps.
#define WARPS_OF_BLOCK 8
#define WARP_LIST(T, name, n) __shared__ T name##_of_warps[WARPS_OF_BLOCK][n]; T* name = name##_of_warps[threadIdx.x >> 5]
// N numbers that lie together, in as few loads as their alignment allows. `from` is the start of one of many such runs.
template <int N> FN void load_run(const float* from, float* to) {
    if (N % 4 == 0) {
        UNROLLED for (int k = 0; k < N / 4; ++k) {
            float4 v = ((const float4*)from)[k];
            to[4 * k] = v.x; to[4 * k + 1] = v.y; to[4 * k + 2] = v.z; to[4 * k + 3] = v.w;
        }
    } else if (N % 2 == 0) {
        UNROLLED for (int k = 0; k < N / 2; ++k) {
            float2 v = ((const float2*)from)[k];
            to[2 * k] = v.x; to[2 * k + 1] = v.y;
        }
    } else {
        UNROLLED for (int k = 0; k < N; ++k) to[k] = from[k];
    }
}

// The warps that share an item of a BLOCK_KERNEL: those of a block, or one that works alone.
struct Warps { int rank, size; };
#define ONE_WARP (Warps{0, 1})
FN void warps_sync(Warps w) {
    if (w.size > 1) __syncthreads();
    else __syncwarp();
}
// The largest of one number of each warp; all warps get it.
FN float warps_max(float v, Warps w) {
    if (w.size == 1) return v;
    __shared__ float part[32];
    __syncthreads();  // what the last call left has been read
    if (first_lane()) part[w.rank] = v;
    __syncthreads();
    for (int k = 0; k < w.size; ++k) v = part[k] > v ? part[k] : v;
    return v;
}
// The sum of one number of each warp, in the order of the warps.
FN float warps_sum(float v, Warps w) {
    if (w.size == 1) return v;
    __shared__ float part[32];
    __syncthreads();
    if (first_lane()) part[w.rank] = v;
    __syncthreads();
    float sum = part[0];
    for (int k = 1; k < w.size; ++k) sum = sum + part[k];
    return sum;
}
