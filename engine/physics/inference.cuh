// Weights as conductances: one or more devices in a cell, what programming them misses, what time and reading change.
// One warp handles 32 cells of a matrix; number n of the normals of device k of a cell is draw n of block k.
#pragma once

#define MAX_PAIRS 8
enum Conversion { PAIRS, TABLES, SINGLE };
enum InferenceStream { PROGRAMMING = ALGORITHM + 32, DRIFTING };

// Conductances lie as [device][matrix][cell], what a device keeps as [device][value][matrix][cell].
// `limits` are the smallest and largest weight of each matrix in `w`.
struct InferenceArgs {
    i64 items, matrices, cells, devices, points;
    const float *w, *limits, *tables, *params;
    float *g, *kept, *out;
    const Control* control;
    float g_max, g_min, span, band, time, noise_g_max;
    float factor[8], start[8];
    int kind, rounds, anew;
    u32 call;
};

struct Reach { float g_max, g_min; };

// Conductance of a weight of 1 in a matrix whose weights lie between low and high.
FN float gain_of(const InferenceArgs& a, float low, float high) {
    float reach = a.kind == SINGLE ? high - low : max_(-low, high);
    return a.span / max_(reach, 1e-7f);
}

// Target of device k for weight w. Pairs are filled one after the other, the first one first.
FN float conductance_of(const InferenceArgs& a, float w, int k, float gain, float low) {
    if (a.kind == SINGLE) return fma_(w - low, gain, a.g_min);
    if (a.kind == PAIRS) {
        float load = max_((k & 1 ? -w : w) * gain, 0.0f);
        return clamp_((load - a.start[k >> 1]) / a.factor[k >> 1] + a.g_min, a.g_min, a.g_max);
    }
    float place = clamp_((w * gain + a.span) / (2.0f * a.span), 0.0f, 1.0f) * (float)(a.points - 1);
    float left = min_(floor_(place), (float)(a.points - 2));
    const float* node = a.tables + k * a.points + (int)left;
    return fma_(place - left, node[1] - node[0], node[0]);
}

// What device k adds to the weight of its cell, times the gain.
FN float share_of(const InferenceArgs& a, float g, int k) {
    if (a.kind == SINGLE) return g - a.g_min;
    return k & 1 ? -a.factor[k >> 1] * g : a.factor[k >> 1] * g;
}

// a + b x + c x^2 ... of n coefficients.
FN float polynomial(const float* c, int n, float x) {
    float v = 0.0f;
    for (int k = n - 1; k >= 0; --k) v = fma_(v, x, c[k]);
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

// Mean of |y| over the reads y [matrix][read][output]: of each output, or with `joined` of the whole matrix.
struct ReadoutArgs {
    i64 items, reads, outputs, joined;
    const float* y;
    float* mean;
    float floor;
};
