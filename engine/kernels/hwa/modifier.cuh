// Hardware-aware training: the weights of one mini-batch, disturbed as a chip would disturb them;
// clipping, remapping. Rows of a matrix [rows][cols] are one warp each; random numbers as in
// mvm/block.cuh, with the row as their block.
#pragma once
#include "mvm/block.cuh"

enum ModifierType {
    MODIFY_NONE,
    MODIFY_COPY,
    MODIFY_DISCRETIZE,
    MODIFY_MULT_NORMAL,
    MODIFY_ADD_NORMAL,
    MODIFY_DISCRETIZE_ADD_NORMAL,
    MODIFY_DOREFA,
    MODIFY_POLY,
    MODIFY_PROG_NOISE,
    MODIFY_DROP_CONNECT,
    MODIFY_PCM_NOISE
};
enum ModifierStream { MODIFY = ALGORITHM + 48, MODIFY_EVALUATION = MODIFY + 16 };
enum ModifierSub {
    NOISE,
    STEPS,
    DROP,
    PCM_DRIFT,
    PCM_READ,
    PCM_RESET,
    PCM_GMAX,
    PCM_RANDOM,
    PCM_AMOUNT
};
enum ClipType {
    CLIP_NONE,
    CLIP_FIXED_VALUE,
    CLIP_LAYER_GAUSSIAN,
    CLIP_AVERAGE_CHANNEL_MAX,
    CLIP_LAYER_GAUSSIAN_PER_CHANNEL
};
enum RemapType { REMAP_NONE, REMAP_LAYERWISE_SYMMETRIC, REMAP_CHANNELWISE_SYMMETRIC };
enum Figure { TOP, MEAN, SPREAD, FIGURES };
enum Limit { CLIP_AT, LAYER_TOP, LEAST_SCALE };

// `range` holds the smallest and the largest weight, of each row where `per_channel`; the first
// `changed` columns are modified, the others copied.
struct ModifyArgs {
    i64 items, cols, changed;
    const float *w, *range;
    float* out;
    const Control* control;
    float std_dev, res, dorefa_clip, pdrop, assumed_wmax, g_max, zero_thres, t_inference, t0,
        at_reset, at_gmax, at_random;
    float coeffs[8];
    int type, degree, sto_round, relative, as_torch, per_channel;
    u32 call, stream;
};

// `figures` of each row: largest magnitude, mean, sum of squares about it. `scale` is read and
// written, one a row.
struct SettleArgs {
    i64 items, rows, cols;
    float *w, *figures, *scale, *limits;
    float fixed_value, sigma, remapped_wmax, max_scale_range, max_scale_ref;
    int clip, remap;
};

FN float not_zero(float v) { return v > 0.0f ? v : 1.0f; }
// The largest weight that the disturbance of a row is relative to.
FN float wmax_of(const ModifyArgs& a, i64 row) {
    const float* ends = a.per_channel ? a.range + 2 * row : a.range;
    return a.relative ? not_zero(max_(abs_(ends[0]), abs_(ends[1]))) : a.assumed_wmax;
}

// Halves away from 0, unlike round_.
FN float round_away(float v) {
    float whole = floor_(abs_(v)), r = abs_(v) - whole >= 0.5f ? whole + 1.0f : whole;
    return v < 0.0f ? -r : r;
}
FN float stepped(const ModifyArgs& a, float v, float dither) {
    if (!(a.res > 0.0f)) return v;
    return a.res * (a.as_torch ? round_(v / a.res + dither) : round_away(v / a.res + dither));
}

// c0 + c1 x + c2 x^2 ...
FN float curve_of(const ModifyArgs& a, float x) {
    float v = 0.0f;
    for (int k = a.degree - 1; k >= 0; --k) v = fma_(v, x, a.coeffs[k]);
    return v;
}

FN float mirrored(float w, float v) { return w < 0.0f ? -abs_(v) : abs_(v); }

// The weight w of a matrix whose largest magnitude is m; z is a normal number, u a dither.
FN float modified(const ModifyArgs& a, float w, float m, float z, float u) {
    switch (a.type) {
        case MODIFY_DISCRETIZE: return m * stepped(a, w / m, u);
        case MODIFY_MULT_NORMAL: return w + w * (a.as_torch ? a.std_dev : a.std_dev * m) * z;
        case MODIFY_ADD_NORMAL: return w + a.std_dev * m * z;
        case MODIFY_DISCRETIZE_ADD_NORMAL: return m * stepped(a, w / m, u) + a.std_dev * m * z;
        case MODIFY_DOREFA: return stepped(a, tanh_(w) * abs_(a.dorefa_clip / tanh_(m)), u);
        case MODIFY_POLY: return w + m * a.std_dev * curve_of(a, abs_(w) / m) * z;
        case MODIFY_PROG_NOISE:
            return mirrored(w, abs_(w) + m * (a.std_dev / a.g_max) * curve_of(a, abs_(w) / m) * z);
        default: return w;
    }
}

// A conductance of the size |w| once more as phase-change memory would hold it: misprogrammed,
// stuck, drifted, read. `z` are three normal numbers, `u` four uniform ones.
FN float as_pcm(const ModifyArgs& a, float w, float m, const float* z, const float* u) {
    float unit = a.g_max / m, g = clamp_(w, -m, m) * unit;
    g = abs_(g) <= a.zero_thres * a.std_dev * 0.26348f ? 0.0f : g;
    bool negative = g < 0.0f;
    g = u[0] < a.at_reset ? 0.0f : g;
    g = u[1] < a.at_gmax ? g + (u[1] < 0.5f * a.at_gmax ? a.g_max : -a.g_max) : g;
    g = u[2] < a.at_random ? (g > 0.0f ? u[3] * a.g_max : -u[3] * a.g_max) : g;
    g = clamp_(g, -a.g_max, a.g_max);
    float x = abs_(g) / a.g_max;
    float placed = g + a.std_dev * fma_(fma_(-1.1731f, x, 1.965f), x, 0.26348f) * z[0];
    float p = abs_(placed) / a.g_max, time = a.t_inference + a.t0;
    float nu = abs_(z[1] * clamp_(-0.0125f * log_(max_(p, 1e-6f)) - 0.0059f, 0.008f, 0.045f));
    float drifted = a.t_inference > 0.0f ? placed * pow_(time / a.t0, -nu) : placed;
    float q =
        min_(0.0088f / max_(pow_(p, 0.65f), 1e-3f), 0.2f) * sqrt_(log_((time + 2.5e-7f) / 5e-7f));
    float held = abs_(drifted + a.std_dev * abs_(drifted) * q * z[2]) / unit;
    return g == 0.0f ? 0.0f : negative ? -held : held;
}

FN void modify_as_pcm(const ModifyArgs& a, const Read& r, float m, i64 at, i64 n, Block& w) {
    Block z[3], u[4];
    for (int k = 0; k < 3; ++k)
        z[k] = normal_block(r, k == 0 ? NOISE : PCM_DRIFT + k - 1, (u32)(at / 4), n);
    for (int k = 0; k < 4; ++k) u[k] = dither_block(true, r, PCM_RESET + k, (u32)(at / 4));
    for (int q = 0; q < 4 && q < quarters_of(n); ++q)
        LANES(l) {
            float zs[3] = {z[0].q[q][l], z[1].q[q][l], z[2].q[q][l]}, us[4];
            for (int k = 0; k < 4; ++k) us[k] = u[k].q[q][l] + 0.5f;
            w.q[q][l] = as_pcm(a, w.q[q][l], m, zs, us);
        }
}

// 128 weights from column `at` on of a row, disturbed; zeros beyond its end. `m` is the largest
// magnitude.
FN Block modified_block(const ModifyArgs& a, const Read& r, const float* row, i64 at, float m) {
    i64 n = a.cols - at;
    bool noisy = a.std_dev != 0.0f && a.type != MODIFY_DISCRETIZE && a.type != MODIFY_DOREFA;
    Block from = load_block(row + at, n), w = from,
          d = dither_block(a.pdrop > 0.0f, r, DROP, (u32)(at / 4));
    if (a.type == MODIFY_PCM_NOISE) modify_as_pcm(a, r, m, at, n, w);
    else if (a.type != MODIFY_NONE && a.type != MODIFY_COPY && a.type != MODIFY_DROP_CONNECT) {
        Block z = noisy ? normal_block(r, NOISE, (u32)(at / 4), n) : constant_block(0.0f);
        Block u = dither_block(a.sto_round, r, STEPS, (u32)(at / 4));
        for (int q = 0; q < 4 && q < quarters_of(n); ++q)
            LANES(l) w.q[q][l] = modified(a, w.q[q][l], m, z.q[q][l], u.q[q][l]);
    }
    for (int q = 0; q < 4 && q < quarters_of(n); ++q) {
        i64 first = at + 32 * q;
        LANES(l) {
            float v = a.pdrop > 0.0f && d.q[q][l] + 0.5f < a.pdrop ? 0.0f : w.q[q][l];
            w.q[q][l] = first + l < a.changed ? v : from.q[q][l];
        }
    }
    return w;
}
