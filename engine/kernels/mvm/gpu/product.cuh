// Products by a warp of a GPU, of one vector or of several at once, whose weights are then loaded
// once for all of them. The order of a sum is that of cpu/product.cuh.
#pragma once
#include "mvm/factors.cuh"

// Of a warp: so many vectors with so many outputs forward, with 32 outputs backward.
#define TILE_VECTORS 8
#define TILE_OUTPUTS 4

// The weights of one section: what they are multiplied with, and a mask that takes their signs.
struct TileWeights {
    const float *w, *spread;
    u32 mask;
    i64 w_out, w_in;
};
FN TileWeights weights_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) {
    Place place = place_of(p, section);
    Factors f = factors_of(a, item);
    const float* spread = is_polar(a, place.pass) ? f.spread : nullptr;
    TileWeights t = {f.w, spread, place.absolute ? 0x7fffffffu : 0xffffffffu, a.w_out, a.w_in};
    return t;
}
template <bool polar> FN float weight_at(const TileWeights& t, i64 at) {
    float w = polar ? t.w[at] * t.spread[at] : t.w[at];
    return float_of(bits_of(w) & t.mask);
}

// Inputs [section][I] and products [section][O] of some vectors. Beyond the last one the last is
// taken once more, and not written.
template <int V> struct TileRows {
    const float* v[V];
    float* z[V];
    int count;
};

// One of the five steps of sum_of_each: half of the sums go to the other half of the lanes.
template <int half> FN void exchange_halves(float* s) {
    bool upper = (threadIdx.x & half) != 0;
    UNROLLED for (int k = 0; k < half; ++k) {
        float sent = upper ? s[k] : s[k + half], kept = upper ? s[k + half] : s[k];
        s[k] = kept + __shfl_xor_sync(0xffffffffu, sent, half);
    }
}

// Sums of `count` numbers over the lanes of a warp: lane l gets that of s[l]. Halves are added to
// halves as in lanes_sum, so that the bits are the same; for 32 of them with 31 exchanges in all.
template <int count> FN float sum_of_each(float* s) {
    if constexpr (count == 32) {
        exchange_halves<16>(s);
        exchange_halves<8>(s);
        exchange_halves<4>(s);
        exchange_halves<2>(s);
        exchange_halves<1>(s);
        return s[0];
    }
    float sum = 0.0f;
    UNROLLED for (int k = 0; k < count; ++k) {
        Laned<float> part = {s[k]};
        float total = lanes_sum(part);
        sum = (int)(threadIdx.x & 31) == k ? total : sum;
    }
    return sum;
}

// Forward: 32 partial sums along the inputs of V vectors with TILE_OUTPUTS outputs from `out` on.
template <int V, bool polar>
FN void tile_along(const TileRows<V>& r, const TileWeights& t, i64 n_in, i64 out, i64 n_out) {
    const int O = TILE_OUTPUTS;
    int lane = (int)threadIdx.x & 31;
    float s[V * O];
    i64 row[O];
    UNROLLED for (int k = 0; k < V * O; ++k) s[k] = 0.0f;
    UNROLLED for (int o = 0; o < O; ++o) row[o] = (out + o < n_out ? out + o : n_out - 1) * t.w_out;
    i64 at = lane;
    // Loads of several rounds start together.
    _Pragma("unroll (V == 1 ? 8 : 4)") for (; at < n_in; at += 32) {
        float w[O], v[V];
        UNROLLED for (int o = 0; o < O; ++o) w[o] = weight_at<polar>(t, row[o] + at);
        UNROLLED for (int k = 0; k < V; ++k) v[k] = r.v[k][at];
        UNROLLED for (int k = 0; k < V; ++k) UNROLLED for (int o = 0; o < O; ++o) {
            s[O * k + o] = fma_(w[o], v[k], s[O * k + o]);
        }
    }
    __syncwarp();
    float sum = sum_of_each<V * O>(s);
    int k = lane / O;
    float* z = r.z[0];
    UNROLLED for (int n = 1; n < V; ++n) z = k == n ? r.z[n] : z;
    if (k < r.count && out + lane % O < n_out) z[out + lane % O] = sum;
}

// Backward: one sum through the inputs in order, of V vectors with 32 outputs from `out` on.
template <int V, bool polar>
FN void tile_across(const TileRows<V>& r, const TileWeights& t, i64 n_in, i64 out, i64 n_out) {
    i64 o = out + (threadIdx.x & 31), column = o < n_out ? o : n_out - 1;
    float s[V];
    UNROLLED for (int k = 0; k < V; ++k) s[k] = 0.0f;
    LOADS_AHEAD for (i64 j = 0; j < n_in; ++j) {
        float w = weight_at<polar>(t, j * t.w_in + column);
        UNROLLED for (int k = 0; k < V; ++k) s[k] = fma_(w, r.v[k][j], s[k]);
    }
    UNROLLED for (int k = 0; k < V; ++k) if (k < r.count && o < n_out) r.z[k][o] = s[k];
}

template <int V>
FN void warp_tile(const TileRows<V>& r, const TileWeights& t, const MvmArgs& a, i64 out) {
    if (a.w_in == 1) {
        if (t.spread) tile_along<V, true>(r, t, a.n_in, out, a.n_out);
        else tile_along<V, false>(r, t, a.n_in, out, a.n_out);
    } else {
        if (t.spread) tile_across<V, true>(r, t, a.n_in, out, a.n_out);
        else tile_across<V, false>(r, t, a.n_in, out, a.n_out);
    }
}
FN i64 outputs_of_tile(const MvmArgs& a) { return a.w_in == 1 ? TILE_OUTPUTS : 32; }

// The products of all sections of one vector, by all warps of `w`.
FN void multiply(const MvmArgs& a, i64 item, Warps w) {
    const MvmPlan p = a.plan[0];
    if (a.per_sample) {
        multiply_per_sample(a, item, w);
        return;
    }
    for (int section = 0; section < p.sections; ++section) {
        TileRows<1> r = {{input_of(a, p, item, section)}, {product_of(a, p, item, section)}, 1};
        TileWeights t = weights_of(a, p, item, section);
        i64 outputs = outputs_of_tile(a);
        for (i64 out = outputs * w.rank; out < a.n_out; out += outputs * w.size)
            warp_tile<1>(r, t, a, out);
    }
    warps_sync(w);
}

// The products of one output of a forward vector, in all sections; one warp makes them.
FN void multiply_output(const MvmArgs& a, i64 item, i64 out) {
    const MvmPlan p = a.plan[0];
    for (int section = 0; section < p.sections; ++section) {
        TileWeights t = weights_of(a, p, item, section);
        const float *v = input_of(a, p, item, section), *w = t.w + out * a.w_out;
        const float* spread = t.spread ? t.spread + out * a.w_out : nullptr;
        Laned<float> sum = {0.0f};
        // Loads of many rounds start together: one warp works, and waits for nothing else.
        _Pragma("unroll 16") for (i64 at = threadIdx.x & 31; at < a.n_in; at += 32) {
            float f = spread ? w[at] * spread[at] : w[at];
            sum.own = fma_(float_of(bits_of(f) & t.mask), v[at], sum.own);
        }
        __syncwarp();
        float total = lanes_sum(sum);
        // The lane that reads it afterwards.
        if ((threadIdx.x & 31) == (out & 31)) product_of(a, p, item, section)[out] = total;
    }
}
