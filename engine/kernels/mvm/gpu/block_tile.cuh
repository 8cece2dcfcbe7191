// Products of many vectors with many outputs by a block of 256 threads: a tile of 64 vectors and
// 128 outputs, whose inputs pass through shared memory 16 at a time. A thread has 8 vectors and 4
// outputs; each of its sums runs through the inputs in order.
#pragma once
#include "mvm/gpu/product.cuh"

#define BLOCK_VECTORS 64
#define BLOCK_OUTPUTS 128
#define BLOCK_INPUTS 16

// Rows of four more numbers: columns of a tile that is written across them spread over the banks.
struct __align__(16) Stage {
    float v[BLOCK_INPUTS][BLOCK_VECTORS + 4], w[BLOCK_INPUTS][BLOCK_OUTPUTS + 4];
};

// The vectors of a tile: `list` gives their numbers, or they follow each other from `first` on.
struct BlockRows {
    const int* list;
    i64 first;
    int count, section;
};
FN i64 vector_of(const BlockRows& r, int k) {
    int n = k < r.count ? k : r.count - 1;
    return r.list ? r.list[r.first + n] : r.first + n;
}

// What a thread loads of each 16 inputs: 4 of one vector; 8 weights of one output (along) or of one
// input (across). Beyond the end the last ones are taken once more.
struct Loader {
    const float *v, *w, *spread;
    i64 step;
    int from, outputs;
    u32 mask;
    bool along;
};
FN Loader
loader_of(const MvmArgs& a, const MvmPlan& p, const BlockRows& r, const TileWeights& t, i64 out) {
    int id = (int)threadIdx.x;
    Loader l;
    l.along = a.w_in == 1;
    l.v = input_of(a, p, vector_of(r, id / 4), r.section);
    l.from = l.along ? id / 2 : id % 16 * 8;
    l.outputs = (int)(a.n_out - out < BLOCK_OUTPUTS ? a.n_out - out : BLOCK_OUTPUTS);
    i64 first = l.along ? (out + (l.from < l.outputs ? l.from : l.outputs - 1)) * t.w_out : out;
    l.w = t.w + first;
    l.spread = t.spread ? t.spread + first : nullptr;
    l.step = t.w_in;
    l.mask = t.mask;
    return l;
}

struct Loaded {
    float v[4], w[8];
};
FN void load_four(float* to, const float* from) {
    float4 found = *(const float4*)from;
    to[0] = found.x;
    to[1] = found.y;
    to[2] = found.z;
    to[3] = found.w;
}
// `whole`: all 16 inputs and 128 outputs are there, and rows begin at multiples of 16 bytes.
template <bool whole> FN Loaded load_inputs(const Loader& l, i64 at, int depth) {
    Loaded f;
    int id = (int)threadIdx.x, j = id % 4 * 4;
    i64 input = at + (l.along ? id % 2 * 8 : id / 16);
    if (whole) {
        load_four(f.v, l.v + at + j);
        const float* w = l.along ? l.w + input : l.w + input * l.step + l.from;
        load_four(f.w, w);
        load_four(f.w + 4, w + 4);
    } else {
        UNROLLED for (int k = 0; k < 4; ++k) f.v[k] = l.v[at + (j + k < depth ? j + k : depth - 1)];
        UNROLLED for (int k = 0; k < 8; ++k) {
            i64 in = input + (l.along ? k : 0), last = at + depth - 1;
            int o = l.along ? 0 : l.from + k < l.outputs ? l.from + k : l.outputs - 1;
            i64 place = (in < last ? in : last) * l.step + o;
            f.w[k] = l.spread ? l.w[place] * l.spread[place] : l.w[place];
        }
    }
    UNROLLED for (int k = 0; k < 8; ++k) f.w[k] = float_of(bits_of(f.w[k]) & l.mask);
    return f;
}
FN void store_inputs(Stage& s, const Loaded& f, bool along) {
    int id = (int)threadIdx.x;
    UNROLLED for (int k = 0; k < 4; ++k) s.v[id % 4 * 4 + k][id / 4] = f.v[k];
    UNROLLED for (int k = 0; k < 8; ++k) {
        if (along) s.w[id % 2 * 8 + k][id / 2] = f.w[k];
        else s.w[id / 16][id % 16 * 8 + k] = f.w[k];
    }
}

// Adds an input to the sums of a thread: vectors `top` .. top + 7, outputs `left` .. left + 3.
FN void add_input(float (*sum)[4], const Stage& s, int j, int top, int left) {
    float v[8], w[4];
    load_four(v, &s.v[j][top]);
    load_four(v + 4, &s.v[j][top + 4]);
    load_four(w, &s.w[j][left]);
    UNROLLED for (int k = 0; k < 8; ++k) UNROLLED for (int o = 0; o < 4; ++o) {
        sum[k][o] = fma_(w[o], v[k], sum[k][o]);
    }
}

template <bool whole>
FN void sum_tile(const Loader& l, i64 n_in, float (*sum)[4], int top, int left, Stage* stage) {
    int now = 0;
    i64 at = 0;
    __syncthreads();  // the tile before has been read
    store_inputs(
        stage[0], load_inputs<whole>(l, 0, n_in < BLOCK_INPUTS ? (int)n_in : BLOCK_INPUTS), l.along
    );
    __syncthreads();
    for (; at + BLOCK_INPUTS <= n_in; at += BLOCK_INPUTS, now ^= 1) {
        i64 next = at + BLOCK_INPUTS, rest = n_in - next;
        Loaded f;
        if (rest > 0)
            f = load_inputs<whole>(l, next, rest < BLOCK_INPUTS ? (int)rest : BLOCK_INPUTS);
        UNROLLED for (int j = 0; j < BLOCK_INPUTS; ++j) add_input(sum, stage[now], j, top, left);
        if (rest > 0) store_inputs(stage[now ^ 1], f, l.along);
        __syncthreads();
    }
    for (int j = 0; j < n_in - at; ++j) add_input(sum, stage[now], j, top, left);
}

// The tile of a block: products of `r` with 128 outputs from `out` on.
FN void block_tile(const MvmArgs& a, const MvmPlan& p, const BlockRows& r, i64 out) {
    // Inputs are multiplied from one while the next ones are written to the other.
    __shared__ Stage stage[2];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    // A warp has 32 vectors with 32 outputs: neighbours share what they load.
    int top = warp / 4 * 32 + lane / 8 * 8, left = warp % 4 * 32 + lane % 8 * 4;
    float sum[8][4];
    UNROLLED for (int k = 0; k < 8; ++k) UNROLLED for (int o = 0; o < 4; ++o) sum[k][o] = 0.0f;
    TileWeights t = weights_of(a, p, vector_of(r, 0), r.section);
    Loader l = loader_of(a, p, r, t, out);
    bool aligned = a.n_in % BLOCK_INPUTS == 0 && (t.w_in == 1 ? t.w_out : t.w_in) % 4 == 0;
    aligned = aligned && (u64)a.v % 16 == 0 && (u64)t.w % 16 == 0;
    if (aligned && l.outputs == BLOCK_OUTPUTS && !t.spread)
        sum_tile<true>(l, a.n_in, sum, top, left, stage);
    else sum_tile<false>(l, a.n_in, sum, top, left, stage);
    UNROLLED for (int k = 0; k < 8; ++k) if (top + k < r.count) {
        float* z = product_of(a, p, vector_of(r, top + k), r.section) + out + left;
        UNROLLED for (int o = 0; o < 4; ++o) if (left + o < l.outputs) z[o] = sum[k][o];
    }
}
