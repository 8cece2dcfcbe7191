// The periphery of a tile: how vectors lie in memory, the scale of an input, the DAC, the parts of a split read.
// One warp handles one input vector; element 128 k + 32 q + l of it belongs to lane l and takes word q of its block
// of random numbers.
#pragma once

enum NoiseManagement { NM_NONE, NM_ABS_MAX, NM_NP_SUM, NM_MAX, NM_CONSTANT, NM_AVERAGE };
enum BoundManagement { BM_NONE, BM_ITERATIVE, BM_WORST_CASE };
enum WeightNoise { WN_NONE, WN_ADDITIVE, WN_PCM_READ };
enum Reading { ONE_PASS, POS_NEG, POS_NEG_DIGITAL, SPLIT, BIT_WISE };
enum SubStream { INPUT_NOISE, INPUT_ROUND, OUTPUT_NOISE, OUTPUT_ROUND, WEIGHT_NOISE };
enum Frozen { SIGMA, OFFSET, BEND, GAIN, FROZEN_ROWS };

// A read takes `passes` passes over the array. Each needs its part of the input v, with IR drop also v less what the
// wires lose and |v|, with PCM read noise also v^2: one section of vectors each, first those that meet the weights,
// then those that meet their absolute values.
struct MvmPlan {
    float inp_bound, inp_step, inp_noise, inp_asymmetry;
    float out_bound, out_step, out_noise, out_noise_std, out_scale, out_asymmetry;
    float nm_thres, nm_decay, nm_assumed_wmax, max_bm_factor, max_bm_res;
    float w_noise, ir_drop, ir_ratio, r_series, reference, v_offset_std, bend, bend_std, slope, w_read_asymmetry;
    int noise_management, bound_management, inp_sto_round, out_sto_round, test_negative, clears;
    int weight_noise, reading, passes, split_shift, signed_kinds, absolute_kinds, sections;
    int offset, curve, sums, v_offset_positive;
};

struct ModifyArgs;  // how the weights of a vector's own are drawn, where it has some
struct MvmArgs {
    i64 items, lanes, batch, first, n_in, n_out, w_out, w_in;
    const float *x, *w;
    float *asymmetry, *frozen, *v, *z, *y, *alpha, *sums, *average;
    const Control* control; const MvmPlan* plan; const ModifyArgs* own;
    u32 call, stream;
};

// One read of one vector; `block` numbers its draws.
struct Read { Key key; Draw t; i64 item; u32 block; };

FN i64 row_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) {
    return p.sections == 1 ? item : (item / a.batch * p.sections + section) * a.batch + item % a.batch;
}
FN int signed_section(const MvmPlan& p, int pass, int kind) { return pass * p.signed_kinds + kind; }
FN int absolute_section(const MvmPlan& p, int pass, int kind) {
    return p.passes * p.signed_kinds + pass * p.absolute_kinds + kind;
}
FN float* input_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) { return a.v + row_of(a, p, item, section) * a.n_in; }
FN float* product_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) { return a.z + row_of(a, p, item, section) * a.n_out; }

struct Block { Laned<float> q[4]; };
FN int rest_of(i64 n, i64 at) { return n - at < 32 ? (int)(n - at) : 32; }
FN int quarters_of(i64 n) { return n < 97 ? (int)(n + 31) / 32 : 4; }
FN Block constant_block(float v) {
    Block b;
    for (int q = 0; q < 4; ++q) LANES(l) b.q[q][l] = v;
    return b;
}
// Zeros beyond the end. Whole blocks go without masks, which the host's compiler turns into faster code.
FN Block load_block(const float* from, i64 n) {
    Block b;
    if (n >= 128) {
        for (int q = 0; q < 4; ++q) LANES(l) b.q[q][l] = from[32 * q + l];
        return b;
    }
    for (int q = 0; q < 4 && q < quarters_of(n); ++q) {
        int rest = rest_of(n, 32 * q);
        const float* part = from + 32 * q;
        LANES(l) b.q[q][l] = l < rest ? part[l] : 0.0f;
    }
    return b;
}
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
    } else LANES(l) normals4(r.key, t, at + l, r.block, b.q[0][l], b.q[1][l], b.q[2][l], b.q[3][l]);
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

FN float quantise(float v, float step, float dither) { return step > 0.0f ? step * round_(v / step + dither) : v; }

FN float abs_max_of(const float* x, i64 n) {
    Laned<float> top;
    LANES(l) top[l] = 0.0f;
    for (i64 at = 0; at < n; at += 32) {
        int rest = rest_of(n, at);
        LANES(l) top[l] = max_(l < rest ? abs_(x[at + l]) : 0.0f, top[l]);
    }
    return lanes_max(top);
}
FN float max_of(const float* x, i64 n) {
    Laned<float> top;
    LANES(l) top[l] = -3.4e38f;
    for (i64 at = 0; at < n; at += 32) {
        int rest = rest_of(n, at);
        LANES(l) top[l] = max_(l < rest ? x[at + l] : -3.4e38f, top[l]);
    }
    return lanes_max(top);
}
FN float limited(float v, float limit) { return limit > 0.0f ? min_(v, limit) : v; }

// Scale that also keeps the largest possible sum of currents of either sign within the ADC range.
FN float np_sum_scale(const MvmPlan& p, const float* x, i64 n) {
    Laned<float> plus, minus;
    LANES(l) plus[l] = minus[l] = 0.0f;
    for (i64 at = 0; at < n; at += 32) {
        int rest = rest_of(n, at);
        LANES(l) {
            float v = l < rest ? x[at + l] : 0.0f;
            plus[l] = plus[l] + max_(v, 0.0f);
            minus[l] = minus[l] + max_(-v, 0.0f);
        }
    }
    float top = limited(abs_max_of(x, n), p.nm_thres), range = p.out_bound > 0.0f ? p.out_bound : 1.0f;
    float s = max_(lanes_sum(plus), lanes_sum(minus)) * p.nm_assumed_wmax / range;
    return max_(top, p.inp_step > 0.0f ? min_(s, top * p.max_bm_res / p.inp_step) : s);
}

// The input scale of one vector. A kernel of its own keeps the running average of NM_AVERAGE: its order matters.
FN float input_scale(const MvmArgs& a, const MvmPlan& p, i64 item) {
    const float* x = a.x + item * a.n_in;
    switch (p.noise_management) {
        case NM_ABS_MAX: return limited(abs_max_of(x, a.n_in), p.nm_thres);
        case NM_NP_SUM: return np_sum_scale(p, x, a.n_in);
        case NM_MAX: return limited(max_of(x, a.n_in), p.nm_thres);
        case NM_CONSTANT: return p.nm_thres > 0.0f ? p.nm_thres : 1.0f;
        case NM_AVERAGE: return a.alpha[item];
        default: return 1.0f;
    }
}
