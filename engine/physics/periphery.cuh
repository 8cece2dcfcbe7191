// The periphery of a tile: input scaling, DAC, output stage, ADC. One warp handles one input vector; element
// 128 k + 32 q + l of a vector belongs to lane l and takes word q of its block of random numbers.
#pragma once

enum NoiseManagement { NM_NONE, NM_ABS_MAX, NM_NP_SUM, NM_MAX, NM_CONSTANT, NM_AVERAGE };
enum BoundManagement { BM_NONE, BM_ITERATIVE, BM_WORST_CASE };
enum SubStream { INPUT_NOISE, INPUT_ROUND, OUTPUT_NOISE, OUTPUT_ROUND, WEIGHT_NOISE };

struct MvmPlan {
    float inp_bound, inp_step, inp_noise, inp_asymmetry;
    float out_bound, out_step, out_noise, out_scale, out_asymmetry;
    float nm_thres, nm_decay, nm_assumed_wmax, max_bm_factor, max_bm_res;
    int noise_management, bound_management, inp_sto_round, out_sto_round, test_negative;
};

struct MvmArgs {
    i64 items, lanes, batch, n_in, n_out, w_out, w_in;
    const float *x, *w;
    float *v, *z, *alpha, *average;
    const Control* control;
    const MvmPlan* plan;
    u32 call, stream;
};

FN float quantise(float v, float step, float dither) { return step > 0.0f ? step * round_(v / step + dither) : v; }

struct Spread { float abs_max, max, positive, negative; };
FN Spread spread_of(const float* x, i64 n) {
    Laned<float> largest, high, plus, minus;
    LANES(l) {
        largest[l] = plus[l] = minus[l] = 0.0f;
        high[l] = -3.4e38f;
    }
    for (i64 at = 0; at < n; at += 32) LANES(l) {
        float v = at + l < n ? x[at + l] : 0.0f;
        largest[l] = max_(abs_(v), largest[l]);
        high[l] = at + l < n ? max_(v, high[l]) : high[l];
        plus[l] = plus[l] + max_(v, 0.0f);
        minus[l] = minus[l] + max_(-v, 0.0f);
    }
    Spread s = {lanes_max(largest), lanes_max(high), lanes_sum(plus), lanes_sum(minus)};
    return s;
}

FN float limited(float v, float limit) { return limit > 0.0f ? min_(v, limit) : v; }

// Scale that also keeps the largest possible sum of currents of either sign within the ADC range.
FN float np_sum_scale(const MvmPlan& p, const Spread& s) {
    float top = limited(s.abs_max, p.nm_thres), range = p.out_bound > 0.0f ? p.out_bound : 1.0f;
    float n = max_(s.positive, s.negative) * p.nm_assumed_wmax / range;
    if (p.inp_step > 0.0f) n = min_(n, top * p.max_bm_res / p.inp_step);
    return max_(top, n);
}

// The input scale of one vector. Kernels keep the running average of NM_AVERAGE apart: its order matters.
FN float input_scale(const MvmPlan& p, const Spread& s) {
    switch (p.noise_management) {
        case NM_ABS_MAX: return limited(s.abs_max, p.nm_thres);
        case NM_NP_SUM: return np_sum_scale(p, s);
        case NM_MAX: return limited(s.max, p.nm_thres);
        case NM_CONSTANT: return p.nm_thres > 0.0f ? p.nm_thres : 1.0f;
        default: return 1.0f;
    }
}

// DAC: v = noisy, quantised and clipped x times `scale`.
FN void convert_inputs(const MvmArgs& a, const MvmPlan& p, Key key, Draw t, const float* x, float* v, u32 at, float scale) {
    for (i64 k = 0; k * 128 < a.n_in; ++k) {
        Laned<float> z[4], u[4];
        if (p.inp_noise > 0.0f) LANES(l) {
            t.stream = a.stream + INPUT_NOISE;
            normals4(key, t, (u32)(32 * k + l), at, z[0][l], z[1][l], z[2][l], z[3][l]);
        }
        if (p.inp_sto_round) LANES(l) {
            t.stream = a.stream + INPUT_ROUND;
            u32 w0, w1, w2, w3;
            words4(key, t, (u32)(32 * k + l), at, w0, w1, w2, w3);
            u[0][l] = uniform_of(w0);
            u[1][l] = uniform_of(w1);
            u[2][l] = uniform_of(w2);
            u[3][l] = uniform_of(w3);
        }
        for (int q = 0; q < 4 && k * 128 + q * 32 < a.n_in; ++q) LANES(l) {
            i64 j = k * 128 + q * 32 + l;
            if (j < a.n_in) {
                float s = quantise(x[j] * scale, p.inp_step, p.inp_sto_round ? u[q][l] - 0.5f : 0.0f);
                s = p.inp_bound > 0.0f ? clamp_(s, -p.inp_bound, p.inp_bound) : s;
                s = p.inp_noise > 0.0f ? s + p.inp_noise * z[q][l] : s;
                v[j] = s < 0.0f ? s * (1.0f - p.inp_asymmetry) : s;
            }
        }
    }
}

// Output stage and ADC in place; true if an output hit the bound of the ADC.
FN bool convert_outputs(const MvmArgs& a, const MvmPlan& p, Key key, Draw t, float* y, u32 at, float rescale) {
    Laned<u32> hits;
    LANES(l) hits[l] = 0u;
    for (i64 k = 0; k * 128 < a.n_out; ++k) {
        Laned<float> z[4], u[4];
        if (p.out_noise > 0.0f) LANES(l) {
            t.stream = a.stream + OUTPUT_NOISE;
            normals4(key, t, (u32)(32 * k + l), at, z[0][l], z[1][l], z[2][l], z[3][l]);
        }
        if (p.out_sto_round) LANES(l) {
            t.stream = a.stream + OUTPUT_ROUND;
            u32 w0, w1, w2, w3;
            words4(key, t, (u32)(32 * k + l), at, w0, w1, w2, w3);
            u[0][l] = uniform_of(w0);
            u[1][l] = uniform_of(w1);
            u[2][l] = uniform_of(w2);
            u[3][l] = uniform_of(w3);
        }
        for (int q = 0; q < 4 && k * 128 + q * 32 < a.n_out; ++q) LANES(l) {
            i64 i = k * 128 + q * 32 + l;
            if (i < a.n_out) {
                float s = y[i] < 0.0f ? y[i] * (1.0f - p.out_asymmetry) : y[i];
                s = p.out_noise > 0.0f ? s + p.out_noise * z[q][l] : s;
                s = quantise(s, p.out_step, p.out_sto_round ? u[q][l] - 0.5f : 0.0f);
                if (p.out_bound > 0.0f) {
                    hits[l] |= s > p.out_bound || (p.test_negative && s < -p.out_bound) ? 1u : 0u;
                    s = clamp_(s, -p.out_bound, p.out_bound);
                }
                y[i] = s * rescale;
            }
        }
    }
    return lanes_flag(lanes_any(hits));
}
