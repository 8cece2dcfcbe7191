// The input side of one vector: its scale, the DAC, and the sections that the passes multiply.
// All warps of `w` work on the vector; what is added up in an order is added up by one of them.
#pragma once
#include "mvm/block.cuh"

// The largest number of a vector, or its largest magnitude.
template <bool magnitudes> FN float top_of(const float* x, i64 n, Warps w) {
    const float least = magnitudes ? 0.0f : -3.4e38f;
    Laned<float> top;
    LANES(l) top[l] = least;
    for (i64 at = 32 * w.rank; at < n; at += 32 * w.size) {
        int rest = rest_of(n, at);
        LANES(l) {
            float v = l < rest ? x[at + l] : least;
            top[l] = max_(magnitudes ? abs_(v) : v, top[l]);
        }
    }
    return warps_max(lanes_max(top), w);
}

// From the sums of the positive and of the negative inputs: the scale that also keeps the largest
// possible current of either sign within the range of the ADC.
FN float scale_of_sums(const MvmPlan& p, float top, float plus, float minus) {
    float range = p.out_bound > 0.0f ? p.out_bound : 1.0f;
    float s = max_(plus, minus) * p.nm_assumed_wmax / range;
    return max_(top, p.inp_step > 0.0f ? min_(s, top * p.max_bm_res / p.inp_step) : s);
}

// Every warp adds up all of the vector.
FN float np_sum_scale(const MvmPlan& p, const float* x, i64 n, Warps w) {
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
    float top = limited(top_of<true>(x, n, w), p.nm_thres);
    return scale_of_sums(p, top, lanes_sum(plus), lanes_sum(minus));
}

// What noise management divides a vector by. A kernel of its own keeps the running average of
// NM_AVERAGE_ABS_MAX, whose order matters.
FN float input_scale(const MvmArgs& a, const MvmPlan& p, i64 item, Warps w) {
    const float* x = a.x + item * a.n_in;
    switch (p.noise_management) {
        case NM_ABS_MAX: return limited(top_of<true>(x, a.n_in, w), p.nm_thres);
        case NM_ABS_MAX_NP_SUM: return np_sum_scale(p, x, a.n_in, w);
        case NM_MAX: return limited(top_of<false>(x, a.n_in, w), p.nm_thres);
        case NM_CONSTANT: return p.nm_thres > 0.0f ? p.nm_thres : 1.0f;
        case NM_AVERAGE_ABS_MAX: return a.alpha[item];
        default: return 1.0f;
    }
}

// How many bits lie below those that a pass drives.
FN int shift_of(const MvmPlan& p, int pass) {
    if (p.reading == MV_SPLIT_MODE) return pass * p.split_shift;
    return p.reading == MV_BIT_WISE ? pass : 0;
}

// The part of a converted input that a pass drives: all of it, one sign, or some of its bits.
FN float part_of(const MvmPlan& p, float v, int pass) {
    if (p.reading == MV_ONE_PASS) return v;
    if (p.reading <= MV_POS_NEG_SEPARATE_DIGITAL_SUM) {
        return pass == 0 ? min_(v, 0.0f) : max_(v, 0.0f);
    }
    int steps = (int)round_(abs_(v) / p.inp_step) >> shift_of(p, pass);
    int width = p.reading == MV_SPLIT_MODE ? p.split_shift : 1;
    int driven = pass + 1 < p.passes ? steps & ((1 << width) - 1) : steps;
    float part = (float)driven * p.inp_step;
    return v < 0.0f ? -part : part;
}

// The share of an input that reaches the outputs less what the wires before it lose.
FN float behind_of(int input, float inputs) { return 1.0f - (float)input / inputs; }

// The DAC for one number.
FN float converted(const MvmPlan& p, float x, float scale, float dither, float noise) {
    float s = quantise(x * scale, p.inp_step, dither);
    s = p.inp_bound > 0.0f ? clamp_(s, -p.inp_bound, p.inp_bound) : s;
    s = p.inp_noise > 0.0f ? s + p.inp_noise * noise : s;
    return s < 0.0f ? s * (1.0f - p.inp_asymmetry) : s;
}

// Writes the sections of one pass from the converted input, which lies where the first pass puts
// its own part. Sums and norms of inputs have an order: where they are asked for, one warp works.
FN void write_sections(const MvmArgs& a, const MvmPlan& p, i64 item, int pass, Warps w) {
    const float* from = input_of(a, p, item, 0);
    float* v = input_of(a, p, item, signed_section(p, pass, 0));
    i64 start = p.sums ? 0 : 32 * w.rank, step = p.sums ? 32 : 32 * w.size;
    if (p.sums && w.rank > 0) return;
    Laned<float> total, square;
    LANES(l) total[l] = square[l] = 0.0f;
    for (i64 at = start; at < a.n_in; at += step) {
        int rest = rest_of(a.n_in, at);
        LANES(l)
            if (l < rest) {
                float s = part_of(p, from[at + l], pass);
                total[l] = total[l] + s;
                square[l] = fma_(s, s, square[l]);
                v[at + l] = s;
            }
    }
    float sum = lanes_sum(total), norm = sqrt_(lanes_sum(square));
    if (p.sums && first_lane()) {
        a.sums[2 * (item * p.passes + pass)] = sum;
        a.sums[2 * (item * p.passes + pass) + 1] = norm;
    }
    if (p.ir_drop > 0.0f) {
        float* dropped = input_of(a, p, item, signed_section(p, pass, 1));
        float* load = input_of(a, p, item, absolute_section(p, pass, 0));
        float n = (float)a.n_in;
        for (i64 at = start; at < a.n_in; at += step) {
            int rest = rest_of(a.n_in, at), first = (int)at;
            LANES(l)
                if (l < rest) {
                    float behind = behind_of(first + l, n);
                    dropped[at + l] = v[at + l] * (1.0f - behind * behind);
                    load[at + l] = abs_(v[at + l]);
                }
        }
    }
    if (p.weight_noise == WN_PCM_READ) {
        float* power = input_of(a, p, item, absolute_section(p, pass, p.absolute_kinds - 1));
        for (i64 at = start; at < a.n_in; at += step) {
            int rest = rest_of(a.n_in, at);
            LANES(l)
                if (l < rest) power[at + l] = v[at + l] * v[at + l];
        }
    }
}

// DAC: noisy, quantised and clipped x times `scale`, and all that the passes multiply.
template <bool plain>
CPU_CALLED void convert_inputs(const MvmArgs& a, const Read& r, float scale, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    const float* x = a.x + r.item * a.n_in;
    float* v = input_of(a, p, r.item, 0);
    for (i64 at = 128 * w.rank; at < a.n_in; at += 128 * w.size) {
        bool noisy = p.inp_noise > 0.0f;
        Block z = constant_block(0.0f),
              u = dither_block(p.inp_sto_round, r, INPUT_ROUND, (u32)(at / 4));
        if (noisy) z = normal_block(r, INPUT_NOISE, (u32)(at / 4), a.n_in - at);
        for (int q = 0; q < 4 && at + 32 * q < a.n_in; ++q) {
            int rest = rest_of(a.n_in, at + 32 * q);
            LANES(l)
                if (l < rest) {
                    float s = x[at + 32 * q + l];
                    v[at + 32 * q + l] = converted(p, s, scale, u.q[q][l], z.q[q][l]);
                }
        }
    }
    warps_sync(w);
    if (p.sections == 1 && !p.sums) return;
    for (int pass = p.passes - 1; pass >= 0; --pass) {
        write_sections(a, p, r.item, pass, w);
        warps_sync(w);
    }
}

// Converts the inputs and returns their scale: negative for a vector without input, whose output is
// exactly 0.
template <bool plain> CPU_CALLED float convert_first(const MvmArgs& a, i64 item, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    float alpha = input_scale(a, p, item, w);
    bool empty = p.noise_management != NM_NONE && !(alpha > 0.0f);
    bool silent = empty && !(p.inp_noise > 0.0f);
    alpha = empty ? 1.0f : alpha;
    convert_inputs<plain>(a, read_of(a, item, 0), silent ? 0.0f : 1.0f / alpha, w);
    return silent ? -1.0f : alpha;
}
