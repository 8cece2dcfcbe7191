// Weights as conductances: one or more devices in a cell, what programming them misses, what time
// and reading change. One warp handles 32 cells of a matrix; number n of the normals of device k
// of a cell is draw n of block k.
#pragma once
#include "portable.cuh"
#include "maths.cuh"
#include "random.cuh"

#define MAX_PAIRS 8
#define MAX_TERMS 8
enum Conversion { PAIRS, TABLES, SINGLE };
enum InferenceStream { PROGRAMMING = ALGORITHM + 32, DRIFTING };

// Conductances lie as [device][matrix][cell], what a device keeps as [device][value][matrix][cell].
// `limits` are the smallest and largest weight of each matrix in `w`.
struct InferenceArgs {
    i64 items, matrices, cells, devices, points;
    const float *w, *limits, *tables, *params;
    float *g, *kept, *out, *read;
    const Control* control;
    float g_max, g_min, span, band, time, noise_g_max;
    float factor[8], start[8];
    int kind, rounds, anew;
    u32 call;
};

struct Reach {
    float g_max, g_min;
};

// Conductance of a weight of 1 in a matrix whose weights lie between low and high.
FN float gain_of(const InferenceArgs& a, float low, float high) {
    float reach = a.kind == SINGLE ? high - low : max_(-low, high);
    return a.span / max_(reach, 1e-7f);
}

// Targets of device k for weights w. Pairs are filled one after the other, the first one first.
FN void conductances_of(
    const InferenceArgs& a, Laned<float>& w, int k, float gain, float low, Laned<float>& g
) {
    float factor = a.factor[k >> 1], start = a.start[k >> 1], sign = k & 1 ? -gain : gain;
    if (a.kind == PAIRS)
        LANES(l)
            g[l] = clamp_((max_(w[l] * sign, 0.0f) - start) / factor + a.g_min, a.g_min, a.g_max);
    if (a.kind == SINGLE)
        LANES(l) g[l] = fma_(w[l] - low, gain, a.g_min);
    if (a.kind == TABLES)
        LANES(l) {
            float place = clamp_((w[l] * gain + a.span) / (2.0f * a.span), 0.0f, 1.0f) *
                (float)(a.points - 1);
            float left = min_(floor_(place), (float)(a.points - 2));
            const float* node = a.tables + k * a.points + (int)left;
            g[l] = fma_(place - left, node[1] - node[0], node[0]);
        }
}

// What device k adds to the weight of its cell, times the gain: factor (g - base).
struct Share {
    float factor, base;
};
FN Share share_of(const InferenceArgs& a, int k) {
    float factor = k & 1 ? -a.factor[k >> 1] : a.factor[k >> 1];
    Share s = {a.kind == SINGLE ? 1.0f : factor, a.kind == SINGLE ? a.g_min : 0.0f};
    return s;
}

// a + b x + c x^2 ... of n coefficients, at most MAX_TERMS. A fixed number of terms lets
// compilers unroll.
FN float polynomial(const float* c, int n, float x) {
    float v = 0.0f;
    for (int k = MAX_TERMS - 1; k >= 0; --k) {
        float term = c[k];
        v = fma_(v, x, k < n ? term : 0.0f);
    }
    return v;
}

// A polygon through n points (x ascending), constant beyond its ends.
FN float polygon(const float* x, const float* y, int n, float at) {
    float v = y[0];
    for (int k = 0; k + 1 < n; ++k) {
        float share = (at - x[k]) / (x[k + 1] - x[k]);
        v = at > x[k] ? fma_(min_(share, 1.0f), y[k + 1] - y[k], y[k]) : v;
    }
    return v;
}

// Mean of |y| over the reads y [matrix][read][output]: of each output, or with `joined` of the
// whole matrix.
struct ReadoutArgs {
    i64 items, reads, outputs, joined;
    const float* y;
    float* mean;
    float floor;
};
