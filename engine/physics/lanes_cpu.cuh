// The 32 lanes of an item of a WARP_KERNEL on a CPU, where they are elements of an array.
#pragma once

template <class T> struct Laned { T all[32]; T& operator[](int l) { return all[l]; } };
#define LANES(l) LOOP for (int l = 0; l < 32; ++l)
// The lanes of n items, which a CPU need not fill up beyond the next eight.
#define LANES_OF(l, n) LOOP for (int l = 0; l < (((n) + 7) & ~7); ++l)
// Those below a constant.
#define LANES_UP_TO(l, n) LOOP for (int l = 0; l < (n); ++l)
// Written out: compilers do not unroll a loop over the halves, which then costs as much as a product of hundreds.
FN float lanes_max(Laned<float>& v) {
    LANES_UP_TO(l, 16) v[l] = v[l] > v[l + 16] ? v[l] : v[l + 16];
    LANES_UP_TO(l, 8) v[l] = v[l] > v[l + 8] ? v[l] : v[l + 8];
    LANES_UP_TO(l, 4) v[l] = v[l] > v[l + 4] ? v[l] : v[l + 4];
    float even = v[0] > v[2] ? v[0] : v[2], odd = v[1] > v[3] ? v[1] : v[3];
    return even > odd ? even : odd;
}
FN float lanes_sum(Laned<float>& v) {
    LANES_UP_TO(l, 16) v[l] = v[l] + v[l + 16];
    LANES_UP_TO(l, 8) v[l] = v[l] + v[l + 8];
    LANES_UP_TO(l, 4) v[l] = v[l] + v[l + 4];
    return (v[0] + v[2]) + (v[1] + v[3]);
}
FN bool lanes_any(Laned<u32>& v) {
    u32 any = 0;
    LOOP for (int l = 0; l < 32; ++l) any |= v[l];
    return any != 0u;
}
FN bool lanes_flag(bool v) { return v; }
FN u32 lanes_first(Laned<u32>& v) { return v[0]; }
FN u32 lanes_at(Laned<u32>& v, int l) { return v[l]; }
FN float lanes_at(Laned<float>& v, int l) { return v[l]; }
template <class T> FN void lanes_from(Laned<T>& v, Laned<u32>& from, Laned<T>& to) { LANES(l) to[l] = v[from[l]]; }
FN u32 lanes_mask(Laned<u32>& v) {
    u32 mask = 0u;
    LOOP for (int l = 0; l < 32; ++l) mask |= v[l] != 0u ? 1u << l : 0u;
    return mask;
}
FN void lanes_add_up(Laned<u32>& v) { for (int l = 1; l < 32; ++l) v[l] += v[l - 1]; }
FN int first_bit(u32 v) { return __builtin_ctz(v); }
FN int last_bit(u32 v) { return 31 - __builtin_clz(v); }
FN bool first_lane() { return true; }
FN void lanes_sync() {}
// A list of `n` numbers that the lanes share.
#define WARP_LIST(T, name, n) T name[n]
template <int N> FN void load_run(const float* from, float* to) { for (int k = 0; k < N; ++k) to[k] = from[k]; }

// The warps that share an item of a BLOCK_KERNEL: a CPU has one, so that this costs nothing.
struct Warps { static const int rank = 0, size = 1; };
#define ONE_WARP (Warps{})
FN void warps_sync(Warps) {}
FN float warps_max(float v, Warps) { return v; }
FN float warps_sum(float v, Warps) { return v; }
