// 128 consecutive numbers of a vector, four in each lane of a warp: number 32 q + l is q[q][l].
// Number 128 k + 32 q + l of a vector takes word q of block 32 k + l of its random numbers.
#pragma once
#include "mvm/args.cuh"

struct Block {
    Laned<float> q[4];
};

// How many of the 32 numbers from `at` on a vector of n has.
FN int rest_of(i64 n, i64 at) { return n - at < 32 ? (int)(n - at) : 32; }
// How many quarters of a block n numbers need.
FN int quarters_of(i64 n) { return n < 97 ? (int)(n + 31) / 32 : 4; }

FN Block constant_block(float v) {
    Block b;
    for (int q = 0; q < 4; ++q)
        LANES(l) b.q[q][l] = v;
    return b;
}

// Zeros beyond the end. Whole blocks go without masks: the host's compiler makes faster code.
FN Block load_block(const float* from, i64 n) {
    Block b;
    if (n >= 128) {
        for (int q = 0; q < 4; ++q)
            LANES(l) b.q[q][l] = from[32 * q + l];
        return b;
    }
    for (int q = 0; q < 4 && q < quarters_of(n); ++q) {
        int rest = rest_of(n, 32 * q);
        const float* part = from + 32 * q;
        LANES(l) b.q[q][l] = l < rest ? part[l] : 0.0f;
    }
    return b;
}

// Standard normal numbers, from block `at` on. Short vectors leave half of the words.
FN Block normal_block(const Read& r, int sub, u32 at, i64 n) {
    Block b;
    Draw t = r.t;
    t.stream += sub;
    if (n <= 64) {
        LANES_OF(l, rest_of(n, 0)) {
            u32 w0, w1, w2, w3;
            words4(r.key, t, at + l, r.block, w0, w1, w2, w3);
            normal2(w0, w1, b.q[0][l], b.q[1][l]);
        }
    } else {
        LANES(l) normals4(r.key, t, at + l, r.block, b.q[0][l], b.q[1][l], b.q[2][l], b.q[3][l]);
    }
    return b;
}

// What stochastic rounding adds to a value before it is rounded, or 0.
FN Block dither_block(bool on, const Read& r, int sub, u32 at) {
    if (!on) return constant_block(0.0f);
    Block b;
    Draw t = r.t;
    t.stream += sub;
    LANES(l) {
        u32 w0, w1, w2, w3;
        words4(r.key, t, at + l, r.block, w0, w1, w2, w3);
        b.q[0][l] = uniform_of(w0) - 0.5f;
        b.q[1][l] = uniform_of(w1) - 0.5f;
        b.q[2][l] = uniform_of(w2) - 0.5f;
        b.q[3][l] = uniform_of(w3) - 0.5f;
    }
    return b;
}

FN float quantise(float v, float step, float dither) {
    return step > 0.0f ? step * round_(v / step + dither) : v;
}
// A limit of 0 or less is none.
FN float limited(float v, float limit) { return limit > 0.0f ? min_(v, limit) : v; }
